package evaluation_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"relish/evaluation"
)

func TestMetrics(t *testing.T) {
	graded := (1 + 5/math.Log2(3)) / (5 + 1/math.Log2(3)) // gains 5 and 1 in the wrong order
	for _, c := range []struct {
		name  string
		order []int
		gains []float64
		k     int
		ndcg  float64
		mrr   float64
	}{
		{"first", []int{2, 0, 1}, []float64{0, 0, 1}, 10, 1, 1},
		{"second", []int{0, 2, 1}, []float64{0, 0, 1}, 10, 1 / math.Log2(3), 0.5},
		{"beyond the cutoff", []int{0, 1, 2}, []float64{0, 0, 1}, 2, 0, 1.0 / 3},
		{"graded", []int{0, 1}, []float64{1, 5}, 10, graded, 1},
		{"no gain", []int{0, 1}, []float64{0, 0}, 10, math.NaN(), 0},
	} {
		if got := evaluation.NDCG(c.order, c.gains, c.k); !near(got, c.ndcg, 1e-12) {
			t.Errorf("%s: NDCG = %v, want %v", c.name, got, c.ndcg)
		}
		if got := evaluation.MRR(c.order, c.gains); got != c.mrr {
			t.Errorf("%s: MRR = %v, want %v", c.name, got, c.mrr)
		}
	}
}

// A constant score must measure like random order, whatever the order of the file. With one
// relevant item of four, the mean reciprocal rank is then (1 + 1/2 + 1/3 + 1/4) / 4.
func TestTiesMeasureLikeRandomOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	sum := 0.0
	const n = 20000
	for range n {
		order, err := evaluation.Order(make([]float64, 4), rng)
		if err != nil {
			t.Fatal(err)
		}
		sum += evaluation.MRR(order, []float64{1, 0, 0, 0})
	}
	if want := (1 + 0.5 + 1.0/3 + 0.25) / 4; math.Abs(sum/n-want) > 0.01 {
		t.Errorf("constant scores have MRR %.3f, random order has %.3f", sum/n, want)
	}
	if _, err := evaluation.Order([]float64{1, math.NaN()}, rng); err == nil {
		t.Error("a NaN score must be an error")
	}
}

func TestAveragePrecisionAndHitRate(t *testing.T) {
	nan, six := math.NaN(), []int{0, 1, 2, 3, 4, 5}
	for _, c := range []struct {
		name   string
		order  []int
		gains  []float64
		k      int
		ap, hr float64
	}{
		{"first", []int{2, 0, 1}, []float64{0, 0, 1}, 10, 1, 1},
		{"second", []int{0, 2, 1}, []float64{0, 0, 1}, 10, 1.0 / 2, 1},
		// relevant at ranks 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3.
		{"three", six, []float64{1, 0, 5, 0, 0, 1}, 10, (1 + 2.0/3 + 3.0/6) / 3, 1},
		// the same with cutoff 4: the third is not found.
		{"three at four", six, []float64{1, 0, 5, 0, 0, 1}, 4, (1 + 2.0/3) / 3, 1},
		// four relevant, cutoff 2: no more than two can be found.
		{"more than k", []int{0, 1, 2, 3}, []float64{1, 1, 1, 1}, 2, 1, 1},
		{"below the cutoff", []int{0, 1, 2}, []float64{0, 0, 1}, 2, 0, 0},
		{"none relevant", []int{0, 1}, []float64{0, 0}, 2, nan, nan},
		{"empty", nil, nil, 2, nan, nan},
	} {
		if got := evaluation.AveragePrecision(c.order, c.gains, c.k); !near(got, c.ap, 1e-12) {
			t.Errorf("%s: AP = %v, want %v", c.name, got, c.ap)
		}
		if got := evaluation.HitRate(c.order, c.gains, c.k); !near(got, c.hr, 0) {
			t.Errorf("%s: HR = %v, want %v", c.name, got, c.hr)
		}
	}
}

func near(a, b, within float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= within
}

// AveragePrecision agrees with its definition: the mean precision at the ranks of relevant items.
func TestAveragePrecisionByDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		n, k := 1+rng.IntN(12), 1+rng.IntN(12)
		order, gains := rng.Perm(n), make([]float64, n)
		relevant := 0
		for i := range gains {
			if gains[i] = float64(rng.IntN(3)); gains[i] > 0 {
				relevant++
			}
		}
		want := 0.0
		for position := range min(k, n) {
			if gains[order[position]] == 0 {
				continue
			}
			found := 0
			for _, i := range order[:position+1] {
				if gains[i] > 0 {
					found++
				}
			}
			want += float64(found) / float64(position+1)
		}
		want /= float64(min(k, relevant)) // without a relevant item NaN, as specified
		if got := evaluation.AveragePrecision(order, gains, k); !near(got, want, 1e-12) {
			t.Fatalf("AP@%d of %v in order %v = %v, want %v", k, gains, order, got, want)
		}
	}
}

// Random scores have known expectations. With one relevant item of 20, HR@5 is 5/20, AP@20 is the
// mean of 1/rank, and AUC is 0.5.
func TestRandomScores(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	const lists, n, k = 20000, 20, 5
	gains := make([]float64, n)
	gains[0] = 1
	hr, ap, auc := 0.0, 0.0, 0.0
	for range lists {
		scores := make([]float64, n)
		for i := range scores {
			scores[i] = float64(rng.IntN(4)) // with ties
		}
		order, err := evaluation.Order(scores, rng)
		if err != nil {
			t.Fatal(err)
		}
		a, err := evaluation.AUC(scores, gains)
		if err != nil {
			t.Fatal(err)
		}
		hr += evaluation.HitRate(order, gains, k) / lists
		ap += evaluation.AveragePrecision(order, gains, n) / lists
		auc += a / lists
	}
	harmonic := 0.0
	for rank := 1; rank <= n; rank++ {
		harmonic += 1 / float64(rank) / n
	}
	// One standard error is at most 0.0035.
	if !near(hr, 5.0/20, 0.014) || !near(ap, harmonic, 0.014) || !near(auc, 0.5, 0.014) {
		t.Errorf("HR@5 %.4f, MAP %.4f, AUC %.4f; want 0.25, %.4f, 0.5", hr, ap, auc, harmonic)
	}
}

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
		t.Error("different lengths must be an error")
	}
}

// AUC agrees with its definition over all pairs of a relevant and another candidate.
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
