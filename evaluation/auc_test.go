package evaluation_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"relish/evaluation"
)

func TestAUC(t *testing.T) {
	for _, c := range []struct {
		name          string
		scores, gains []float64
		want          float64
	}{
		{"perfect", []float64{3, 2, 1}, []float64{1, 0, 0}, 1},
		{"reversed", []float64{1, 2, 3}, []float64{1, 0, 0}, 0},
		{"tied with one of two", []float64{2, 2, 1}, []float64{1, 0, 0}, 0.75},
		{"constant", []float64{5, 5, 5}, []float64{0, 2, 0}, 0.5},
		// pairs (3>2), (3>1), (1<2), (1=1): 2.5 of 4.
		{"two of each", []float64{3, 2, 1, 1}, []float64{1, 0, 5, 0}, 2.5 / 4},
		{"all relevant", []float64{1, 2}, []float64{1, 1}, math.NaN()},
		{"none relevant", []float64{1, 2}, []float64{0, 0}, math.NaN()},
	} {
		if got, err := evaluation.AUC(c.scores, c.gains); err != nil || !near(got, c.want, 1e-12) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, err := evaluation.AUC([]float64{math.NaN(), 1}, []float64{0, 1}); err == nil {
		t.Error("a NaN score must be an error")
	}
	if _, err := evaluation.AUC([]float64{1}, []float64{0, 1}); err == nil {
		t.Error("lengths that differ must be an error")
	}
}

// AUC against its definition over all pairs.
func TestAUCByDefinition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(rt, "n")
		scores, gains := make([]float64, n), make([]float64, n)
		for i := range scores {
			scores[i] = float64(rapid.IntRange(-4, 4).Draw(rt, "score")) // many ties
			gains[i] = float64(rapid.IntRange(0, 2).Draw(rt, "gain"))
		}
		wins, pairs := 0.0, 0.0
		for i := range scores {
			for j := range scores {
				if !(gains[i] > 0 && gains[j] <= 0) {
					continue
				}
				pairs++
				switch {
				case scores[i] > scores[j]:
					wins++
				case scores[i] == scores[j]:
					wins += 0.5
				}
			}
		}
		if got, err := evaluation.AUC(scores, gains); err != nil || !near(got, wins/pairs, 1e-12) {
			rt.Fatalf("AUC = %v, %v; by definition %v", got, err, wins/pairs)
		}
	})
}
