package stats_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"relish/internal/stats"
)

// The interval must cover the true mean in about 95 % of 400 repetitions. The bounds 0.91 and 0.985
// are more than three standard deviations of the binomial count away.
func TestBootstrapCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	covered := 0
	const reps = 400
	for r := range reps {
		xs := make([]float64, 60)
		for i := range xs {
			xs[i] = rng.Float64()
		}
		iv, err := stats.Bootstrap(xs, uint64(r))
		if err != nil {
			t.Fatal(err)
		}
		if iv.Low <= 0.5 && 0.5 <= iv.High {
			covered++
		}
	}
	if share := float64(covered) / reps; share < 0.91 || share > 0.985 {
		t.Errorf("the interval covered the mean in %.3f of runs, want about 0.95", share)
	}
}

func TestBootstrapEdges(t *testing.T) {
	if _, err := stats.Bootstrap([]float64{1, math.NaN()}, 1); err == nil {
		t.Error("a NaN must be an error")
	}
	iv, err := stats.Bootstrap(nil, 1)
	if err != nil || !math.IsNaN(iv.Mean) {
		t.Errorf("without values: got %v, %v; want NaN", iv, err)
	}
	a, _ := stats.Bootstrap([]float64{1, 2, 3}, 7)
	b, _ := stats.Bootstrap([]float64{1, 2, 3}, 7)
	if a != b {
		t.Errorf("the same seed gave %v and %v", a, b)
	}
	if got := a.String(); len(got) == 0 || a.N != 3 || a.Mean != 2 {
		t.Errorf("got %v", a)
	}
}

func TestPairedBootstrap(t *testing.T) {
	iv, err := stats.PairedBootstrap([]float64{3, 5, 7}, []float64{1, 3, 5}, 1)
	if err != nil || iv != (stats.Interval{Mean: 2, Low: 2, High: 2, N: 3}) {
		t.Errorf("a constant difference of 2 gave %v, %v", iv, err)
	}
	forward, err := stats.PairedBootstrap([]float64{1, 0, 4}, []float64{2, 5, 3}, 9)
	if err != nil {
		t.Fatal(err)
	}
	backward, err := stats.PairedBootstrap([]float64{2, 5, 3}, []float64{1, 0, 4}, 9)
	if err != nil || math.Abs(forward.Mean+backward.Mean) > 1e-12 {
		t.Errorf("forward %v, backward %v, %v", forward, backward, err)
	}
	if _, err := stats.PairedBootstrap([]float64{1}, []float64{1, 2}, 1); err == nil {
		t.Error("unequal lengths must be an error")
	}
	_, err = stats.PairedBootstrap([]float64{math.Inf(1)}, []float64{math.Inf(1)}, 1)
	if err == nil {
		t.Error("Inf - Inf must be an error")
	}
}
