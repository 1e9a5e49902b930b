//go:build redmux_system && !redmux_dev

package native

// The library that `make install` installed; PKG_CONFIG_PATH says where, if it is not where pkg-config looks.

// #cgo pkg-config: redmux
import "C"
