//go:build !amd64

package signals

const hasAVX2, hasDots = false, false

func dots8(*float32, int, *[8]*float32, *[8]float32) { panic("signals: no dots8") }

func addScaled8(_, _ *float32, _ int, _ float32) { panic("signals: no addScaled8") }
