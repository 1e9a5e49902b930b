//go:build redmux_dev

package native

// The library that `make build` made in redmux' own checkout.

// #cgo LDFLAGS: -L${SRCDIR}/../../../../target/release -lredmux -Wl,-rpath,${SRCDIR}/../../../../target/release
import "C"
