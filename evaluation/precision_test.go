package evaluation_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/evaluation"
	"relish/internal/stats"
)

func TestAveragePrecisionAndHitRate(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name   string
		order  []int
		gains  []float64
		k      int
		ap, hr float64
	}{
		{"first", []int{2, 0, 1}, []float64{0, 0, 1}, 10, 1, 1},
		{"second", []int{0, 2, 1}, []float64{0, 0, 1}, 10, 1.0 / 2, 1},
		// relevant at places 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3.
		{"three", []int{0, 1, 2, 3, 4, 5}, []float64{1, 0, 5, 0, 0, 1}, 10, (1 + 2.0/3 + 3.0/6) / 3, 1},
		// the same cut at 4: the third is not found.
		{"three at four", []int{0, 1, 2, 3, 4, 5}, []float64{1, 0, 5, 0, 0, 1}, 4, (1 + 2.0/3) / 3, 1},
		// four relevant, cut at 2: no more than two can be found.
		{"more than k", []int{0, 1, 2, 3}, []float64{1, 1, 1, 1}, 2, 1, 1},
		{"below the cut", []int{0, 1, 2}, []float64{0, 0, 1}, 2, 0, 0},
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

// AP against its definition: the mean precision at the places of the relevant ones.
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
		for place := range min(k, n) {
			if gains[order[place]] == 0 {
				continue
			}
			found := 0
			for _, i := range order[:place+1] {
				if gains[i] > 0 {
					found++
				}
			}
			want += float64(found) / float64(place+1)
		}
		want /= float64(min(k, relevant)) // 0/0 is NaN, as it should be
		if got := evaluation.AveragePrecision(order, gains, k); !near(got, want, 1e-12) {
			t.Fatalf("AP@%d of %v in order %v = %v, want %v", k, gains, order, got, want)
		}
	}
}

// Random scores give what chance gives: with one relevant of 20, HR@5 is 5/20, AP@20 is the mean of
// 1/place, and AUC is a half.
func TestRandomScoresAreChance(t *testing.T) {
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
	for place := 1; place <= n; place++ {
		harmonic += 1 / float64(place) / n
	}
	// One standard error is at most 0.0035.
	if !near(hr, 5.0/20, 0.014) || !near(ap, harmonic, 0.014) || !near(auc, 0.5, 0.014) {
		t.Errorf("HR@5 %.4f, MAP %.4f, AUC %.4f; chance is 0.25, %.4f, 0.5", hr, ap, auc, harmonic)
	}
}

func TestDefinedDivideAndPick(t *testing.T) {
	if got := evaluation.DropNaN([]float64{math.NaN(), 1, math.NaN(), 0}); !slices.Equal(got, []float64{1, 0}) {
		t.Errorf("defined: %v", got)
	}
	at := evaluation.IndicesBySlice([]int{3, 40, 5, 60}, []evaluation.Slice[int]{
		{Name: "small", Contains: func(n int) bool { return n < 10 }},
		{Name: "all", Contains: func(int) bool { return true }},
		{Name: "none", Contains: func(int) bool { return false }},
	})
	for i, want := range [][]int{{0, 2}, {0, 1, 2, 3}, nil} {
		if !slices.Equal(at[i], want) {
			t.Errorf("slice %d holds %v, want %v", i, at[i], want)
		}
	}
	if got := evaluation.SelectValues([]float64{.1, .2, .3, .4}, at[0]); !slices.Equal(got, []float64{.1, .3}) {
		t.Errorf("picked %v", got)
	}
}

// Two scorers, one better by a hair on every list: their own intervals overlap, the paired one
// excludes zero.
func TestPairedDifferenceSeesWhatIntervalsHide(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	a, b := make([]float64, 500), make([]float64, 500)
	for i := range a {
		b[i] = rng.Float64()
		a[i] = b[i] + 0.005 + 0.01*rng.NormFloat64()
	}
	ia, err := stats.Bootstrap(a, 1)
	if err != nil {
		t.Fatal(err)
	}
	ib, err := stats.Bootstrap(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := stats.PairedBootstrap(a, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if ia.Low > ib.High || d.Low <= 0 || !near(d.Mean, ia.Mean-ib.Mean, 1e-12) {
		t.Errorf("%v against %v, difference %v", ia, ib, d)
	}
}
