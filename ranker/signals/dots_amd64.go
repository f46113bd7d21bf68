package signals

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// vek uses AVX2 under the same conditions. Without it, vek sums in another order.
var (
	hasAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasFMA && runtime.GOOS != "darwin"
	hasDots = hasAVX2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL
)

// dots8 writes the inner products of x with eight rows of n numbers to out. They have the bits that
// vek32.Dot returns. It needs hasDots.
//
//go:noescape
func dots8(x *float32, n int, rows *[8]*float32, out *[8]float32)

// addRows8 adds count rows, each times its factor, to y: the first n numbers as far as they are a
// multiple of eight. count is above 0. It needs hasAVX2.
//
//go:noescape
func addRows8(y *float32, n int, rows **float32, factors *float32, count int)
