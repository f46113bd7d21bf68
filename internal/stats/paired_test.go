package stats_test

import (
	"math"
	"testing"

	"relish/internal/stats"
)

func TestPairedBootstrap(t *testing.T) {
	iv, err := stats.PairedBootstrap([]float64{3, 5, 7}, []float64{1, 3, 5}, 1)
	if err != nil || iv != (stats.Interval{Mean: 2, Low: 2, High: 2, N: 3}) {
		t.Errorf("a constant difference of 2 gave %v, %v", iv, err)
	}
	there, err := stats.PairedBootstrap([]float64{1, 0, 4}, []float64{2, 5, 3}, 9)
	if err != nil {
		t.Fatal(err)
	}
	back, err := stats.PairedBootstrap([]float64{2, 5, 3}, []float64{1, 0, 4}, 9)
	if err != nil || math.Abs(there.Mean+back.Mean) > 1e-12 {
		t.Errorf("%v one way, %v the other, %v", there, back, err)
	}
	if _, err := stats.PairedBootstrap([]float64{1}, []float64{1, 2}, 1); err == nil {
		t.Error("unequal lengths must be an error")
	}
	if _, err := stats.PairedBootstrap([]float64{math.Inf(1)}, []float64{math.Inf(1)}, 1); err == nil {
		t.Error("Inf - Inf must be an error")
	}
}
