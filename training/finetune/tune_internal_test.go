package finetune

import "testing"

// What is within the noise of the best look is kept, what is clearly below it is not.
func TestClearlyWorse(t *testing.T) {
	best := make([]float64, 400)
	for i := range best {
		best[i] = float64(i%5) / 5
	}
	shifted := func(by func(i int) float64) []float64 {
		out := make([]float64, len(best))
		for i, x := range best {
			out[i] = x + by(i)
		}
		return out
	}
	noise := func(i int) float64 { return float64(i%7-3) / 10 } // about 0 in the mean, .2 wide: a standard error of .01
	for _, c := range []struct {
		what string
		now  []float64
		want bool
	}{
		{"the best itself", best, false},
		{"better", shifted(func(i int) float64 { return noise(i) + 0.05 }), false},
		{"within the noise", shifted(func(i int) float64 { return noise(i) - 0.005 }), false},
		{"worse than the noise", shifted(func(i int) float64 { return noise(i) - 0.03 }), true},
		{"worse everywhere", shifted(func(int) float64 { return -0.001 }), true},
	} {
		if got := clearlyWorse(c.now, best); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}
