package stats_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
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
	values := repeat([]float64{1, 2, 3}, 10)
	a, _ := stats.Bootstrap(values, 7)
	b, _ := stats.Bootstrap(values, 7)
	if a != b || !a.IsBounded() {
		t.Errorf("the same seed gave %v and %v", a, b)
	}
	if got := a.String(); !strings.HasPrefix(got, "2.000 [1.") || a.N != 30 || a.Mean != 2 {
		t.Errorf("got %v", a)
	}
}

// repeat returns the values n times.
func repeat(values []float64, n int) (out []float64) {
	for range n {
		out = append(out, values...)
	}
	return out
}

// With few values there is a mean, but no interval: in JSON null, in tables the reason. No verdict
// rests on it. All of that survives a round trip.
func TestTooFewForAnInterval(t *testing.T) {
	for n := 1; n < 40; n++ {
		iv, err := stats.Bootstrap(repeat([]float64{0.5}, n), 1)
		if err != nil || iv.Mean != 0.5 || iv.N != n || iv.IsBounded() != (n >= 30) {
			t.Fatalf("%d values: %+v, %v", n, iv, err)
		}
	}
	few, _ := stats.Bootstrap([]float64{1, 0.5}, 1)
	if got := few.Signed(); got != "+0.750 [too few for an interval]" ||
		few.Verdict() != stats.TooFew {
		t.Errorf("%s, %s", got, few.Verdict())
	}
	none, _ := stats.Bootstrap(nil, 1)
	for want, iv := range map[string]stats.Interval{
		`{"mean":0.75,"low":null,"high":null,"n":2}`: few,
		`{"mean":null,"low":null,"high":null,"n":0}`: none,
		`{"mean":0.5,"low":0.25,"high":1,"n":40}`:    {Mean: 0.5, Low: 0.25, High: 1, N: 40},
	} {
		data, err := json.Marshal(iv)
		if err != nil || string(data) != want {
			t.Errorf("%s, %v; want %s", data, err, want)
		}
		var back stats.Interval
		err = json.Unmarshal(data, &back)
		if err != nil || back.N != iv.N || back.IsBounded() != iv.IsBounded() ||
			back.String() != iv.String() {
			t.Errorf("%s comes back as %+v, %v", data, back, err)
		}
	}
	for _, c := range []struct {
		low, high float64
		want      string
	}{{0.1, 0.2, stats.Better}, {-0.2, -0.1, stats.Worse}, {-0.1, 0.1, stats.NoClearDifference}} {
		iv := stats.Interval{Mean: (c.low + c.high) / 2, Low: c.low, High: c.high, N: 100}
		if iv.Verdict() != c.want {
			t.Errorf("%v is %s", iv, iv.Verdict())
		}
	}
}

func TestPairedBootstrap(t *testing.T) {
	a, b := repeat([]float64{3, 5, 7}, 10), repeat([]float64{1, 3, 5}, 10)
	iv, err := stats.PairedBootstrap(a, b, 1)
	if err != nil || iv != (stats.Interval{Mean: 2, Low: 2, High: 2, N: 30}) {
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
