package finetune

import "testing"

// Weights within the noise of the best evaluation are kept. Clearly worse weights are not.
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
	// The mean is about 0 and the width .2, which gives a standard error of .01.
	noise := func(i int) float64 { return float64(i%7-3) / 10 }
	for _, c := range []struct {
		name string
		ndcg []float64
		want bool
	}{
		{"the best itself", best, false},
		{"better", shifted(func(i int) float64 { return noise(i) + 0.05 }), false},
		{"within the noise", shifted(func(i int) float64 { return noise(i) - 0.005 }), false},
		{"worse than the noise", shifted(func(i int) float64 { return noise(i) - 0.03 }), true},
		{"worse everywhere", shifted(func(int) float64 { return -0.001 }), true},
	} {
		if got := clearlyWorse(c.ndcg, best); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
