//go:build !cgo

package native

// redmux is a C library. Build with CGO_ENABLED=1 and a C compiler (CC), also where you cross-compile.
var _ = redmux_needs_cgo__set_CGO_ENABLED_1_and_have_a_C_compiler
