//go:build !amd64

package signals

const hasAVX2, hasDots = false, false

func dots8(*float32, int, *[8]*float32, *[8]float32) { panic("signals: no dots8") }

func addRows8(*float32, int, **float32, *float32, int) { panic("signals: no addRows8") }
