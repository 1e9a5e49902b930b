//go:build race

package redmux_test

const raceDetector = true // it keeps shadow memory of everything
