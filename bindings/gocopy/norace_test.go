//go:build !race

package redmux_test

const raceDetector = false
