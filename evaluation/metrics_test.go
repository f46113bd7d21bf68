package evaluation_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"relish/evaluation"
)

func TestMetrics(t *testing.T) {
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
		{"cut off", []int{0, 1, 2}, []float64{0, 0, 1}, 2, 0, 1.0 / 3},
		// gains 5 and 1 swapped: (1 + 5/log2(3)) / (5 + 1/log2(3)).
		{"graded", []int{0, 1}, []float64{1, 5}, 10, (1 + 5/math.Log2(3)) / (5 + 1/math.Log2(3)), 1},
		{"no gain", []int{0, 1}, []float64{0, 0}, 10, math.NaN(), 0},
	} {
		if got := evaluation.NDCG(c.order, c.gains, c.k); math.Abs(got-c.ndcg) > 1e-12 || math.IsNaN(got) != math.IsNaN(c.ndcg) {
			t.Errorf("%s: NDCG = %v, want %v", c.name, got, c.ndcg)
		}
		if got := evaluation.MRR(c.order, c.gains); got != c.mrr {
			t.Errorf("%s: MRR = %v, want %v", c.name, got, c.mrr)
		}
	}
}

// A constant score must measure like chance whatever the order of the file: with one relevant item
// of four, the mean reciprocal rank of chance is (1 + 1/2 + 1/3 + 1/4) / 4.
func TestTiesAreChance(t *testing.T) {
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
		t.Errorf("constant scores gave MRR %.3f, chance is %.3f", sum/n, want)
	}
	if _, err := evaluation.Order([]float64{1, math.NaN()}, rng); err == nil {
		t.Error("a NaN score must be an error")
	}
}
