package evaluation_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"relish/evaluation"
)

func TestReliability(t *testing.T) {
	predicted := []float64{0.9, 0.1, 0.8, 0.2}
	gains := []float64{1, 0, 0, 0}
	bins, err := evaluation.Reliability(predicted, gains, 2)
	if err != nil || len(bins) != 2 {
		t.Fatalf("%v, %v", bins, err)
	}
	// {0.1, 0.2}: mean .15, none relevant; {0.8, 0.9}: mean .85, one of two.
	for i, want := range []evaluation.Bin{
		{Predicted: 0.15, Observed: 0, N: 2},
		{Predicted: 0.85, Observed: 0.5, N: 2},
	} {
		b := bins[i]
		if !near(b.Predicted, want.Predicted, 1e-12) || b.Observed != want.Observed ||
			b.N != want.N || b.Low > b.Observed || b.High < b.Observed {
			t.Errorf("bin %d: %+v, want %+v", i, b, want)
		}
	}
	if got := evaluation.CalibrationError(bins); !near(got, (2*0.15+2*0.35)/4, 1e-12) {
		t.Errorf("ECE = %v", got)
	}
	for name, invalid := range map[string][]float64{
		"above one": {1.5, 0, 0, 0},
		"NaN":       {math.NaN(), 0, 0, 0},
		"too few":   {0.5},
	} {
		if _, err := evaluation.Reliability(invalid, gains, 2); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := evaluation.Reliability(predicted, gains, 0); err == nil {
		t.Error("0 bins: no error")
	}
	if !math.IsNaN(evaluation.CalibrationError(nil)) {
		t.Error("without bins the calibration error must be NaN")
	}
}

// Every candidate is in one bin. Predictions ascend from bin to bin, and equal predictions share a
// bin. There are at most n bins; without ties their sizes differ by at most one.
func TestBinsHaveEqualSize(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, levels := rapid.IntRange(0, 60).Draw(rt, "n"), rapid.IntRange(1, 200).Draw(rt, "levels")
		want := rapid.IntRange(1, 12).Draw(rt, "bins")
		predicted, gains, distinct := make([]float64, n), make([]float64, n), map[float64]bool{}
		for i := range predicted {
			predicted[i] = float64(rapid.IntRange(0, levels).Draw(rt, "p")) / float64(levels)
			gains[i] = float64(rapid.IntRange(0, 1).Draw(rt, "gain"))
			distinct[predicted[i]] = true
		}
		bins, err := evaluation.Reliability(predicted, gains, want)
		if err != nil {
			rt.Fatal(err)
		}
		total, last := 0, -1.0
		small, large := n, 0
		for _, b := range bins {
			if b.Predicted <= last || b.N == 0 {
				rt.Fatalf("bins do not ascend: %+v", bins)
			}
			total, last, small, large = total+b.N, b.Predicted, min(small, b.N), max(large, b.N)
		}
		if total != n || len(bins) > want || len(bins) > len(distinct) {
			rt.Fatalf("%d bins with %d of %d candidates", len(bins), total, n)
		}
		if len(distinct) == n && n > 0 && (len(bins) != min(want, n) || large-small > 1) {
			rt.Fatalf(
				"without ties there are %d bins with %d to %d candidates",
				len(bins),
				small,
				large,
			)
		}
	})
}

// sample draws n scores, and gains that are 1 with the sigmoid's probability, else 0.
func sample(n int, s evaluation.Sigmoid, seed uint64) (scores, gains []float64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	for range n {
		x := 100 + 30*rng.NormFloat64()
		scores = append(scores, x)
		g := 0.0
		if rng.Float64() < s.Probability(x) {
			g = 1
		}
		gains = append(gains, g)
	}
	return scores, gains
}

// FitSigmoid finds the sigmoid that generated the data. On new data the fitted one has a small
// calibration error and an overconfident one has a large one.
func TestFitSigmoidRecoversTheTruth(t *testing.T) {
	truth := evaluation.Sigmoid{Slope: 0.05, Offset: -6.5}
	scores, gains := sample(20000, truth, 1)
	fitted, err := evaluation.FitSigmoid(scores, gains)
	if err != nil || !near(fitted.Slope, truth.Slope, 0.005) ||
		!near(fitted.Offset, truth.Offset, 0.5) {
		t.Fatalf("fitted %+v, %v; truth %+v", fitted, err, truth)
	}
	ece := func(s evaluation.Sigmoid) float64 {
		fresh, labels := sample(20000, truth, 2)
		for i, x := range fresh {
			fresh[i] = s.Probability(x)
		}
		bins, err := evaluation.Reliability(fresh, labels, 10)
		if err != nil {
			t.Fatal(err)
		}
		return evaluation.CalibrationError(bins)
	}
	overconfident := evaluation.Sigmoid{Slope: 2 * truth.Slope, Offset: 2 * truth.Offset}
	if good, bad := ece(fitted), ece(overconfident); good > 0.02 || bad < 0.08 {
		t.Errorf("the calibration error is %.3f when fitted and %.3f when overconfident", good, bad)
	}
}

// At any scale of the scores, no neighbour of the fitted sigmoid has a smaller loss.
func TestFitSigmoidIsOptimal(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 50 {
		scores, gains := make([]float64, 30), make([]float64, 30)
		scale, relevant := math.Pow(10, float64(rng.IntN(13)-6)), 0.0
		for i := range scores {
			scores[i] = scale * rng.NormFloat64()
			if i%3 == 0 {
				gains[i] = 1
				relevant++
			}
		}
		loss := func(s evaluation.Sigmoid) float64 {
			sum := 0.0
			for i, x := range scores {
				p, target := s.Probability(x), 1/(30-relevant+2)
				if gains[i] > 0 {
					target = (relevant + 1) / (relevant + 2)
				}
				sum -= target*math.Log(p) + (1-target)*math.Log1p(-p)
			}
			return sum
		}
		s, err := evaluation.FitSigmoid(scores, gains)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range [][2]float64{{0.01, 0}, {-0.01, 0}, {0, 0.01}, {0, -0.01}} {
			other := evaluation.Sigmoid{Slope: s.Slope + d[0]/scale, Offset: s.Offset + d[1]}
			if loss(other) < loss(s) {
				t.Fatalf("%+v has loss %v, its neighbour %+v has %v",
					s, loss(s), other, loss(other))
			}
		}
	}
}

func TestSigmoidEdges(t *testing.T) {
	s, err := evaluation.FitSigmoid([]float64{7, 7, 7, 7}, []float64{1, 0, 0, 0})
	if err != nil || s.Slope != 0 || !near(s.Probability(7), 2.0/6, 1e-12) {
		t.Errorf("constant scores: %+v, %v", s, err)
	}
	// Without smoothed targets, scores that separate the labels have no finite optimal slope.
	s, err = evaluation.FitSigmoid([]float64{1, 2, 3, 4}, []float64{0, 0, 1, 1})
	if err != nil || !(s.Slope > 0) || math.IsInf(s.Slope, 0) {
		t.Errorf("separated labels: %+v, %v", s, err)
	}
	for name, c := range map[string][2][]float64{
		"all relevant":  {{1, 2}, {1, 1}},
		"none relevant": {{1, 2}, {0, 0}},
		"NaN":           {{math.NaN(), 1}, {0, 1}},
		"lengths":       {{1}, {0, 1}},
		"empty":         {},
	} {
		if _, err := evaluation.FitSigmoid(c[0], c[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
