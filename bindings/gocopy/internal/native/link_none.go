//go:build cgo && !redmux_dev && !redmux_system

package native

// This copy of the module carries no library for this platform. Take the module that `make gomod` makes, which does; or build with
// -tags redmux_system for a library that was installed (pkg-config), or with -tags redmux_dev in redmux' own checkout.
var _ = redmux_has_no_library_here__build_with_tags_redmux_system_or_redmux_dev
