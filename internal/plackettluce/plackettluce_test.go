package plackettluce_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/internal/plackettluce"
)

// orders calls each with every order of the items and its Plackett-Luce probability.
func orders(weights []float64, each func(order []int, p float64)) {
	var draw func(order []int, p float64)
	draw = func(order []int, p float64) {
		if len(order) == len(weights) {
			each(order, p)
			return
		}
		used, total := map[int]bool{}, 0.0
		for _, i := range order {
			used[i] = true
		}
		for i, w := range weights {
			if !used[i] {
				total += w
			}
		}
		for i, w := range weights {
			if !used[i] {
				draw(append(order[:len(order):len(order)], i), p*w/total)
			}
		}
	}
	draw(nil, 1)
}

// The marginal probabilities that are recovered from one draw's logged propensities agree with the
// sum over all orders.
func TestMarginalsAgreeWithEnumeration(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		weights := make([]float64, 5)
		for i := range weights {
			weights[i] = math.Exp(4 * rng.NormFloat64()) // some thousand times likelier than others
		}
		var exact [5][5]float64 // by item and position
		orders(weights, func(order []int, p float64) {
			for position, item := range order {
				exact[item][position] += p
			}
		})
		order := rng.Perm(5)
		propensity := make([]float64, 5)
		total := 0.0
		for k := 4; k >= 0; k-- {
			total += weights[order[k]]
			propensity[k] = weights[order[k]] / total
		}
		draw, complete := plackettluce.Recover(propensity)
		if !complete || len(draw.Positions) != 5 {
			t.Fatalf("propensities %v give %v, complete %t", propensity, draw, complete)
		}
		for k, item := range order {
			if got, want := draw.Marginal(k), exact[item][k]; math.Abs(got-want) > 1e-6*want+1e-12 {
				t.Errorf(
					"weights %v, item %d at position %d: %g, want %g",
					weights,
					item,
					k,
					got,
					want,
				)
			}
		}
	}
}

func TestRecover(t *testing.T) {
	for _, c := range []struct {
		propensity []float64
		positions  int
		complete   bool
	}{
		{nil, 0, true},
		{[]float64{1, 1, 1}, 0, true},
		{[]float64{0.5, 1, 1}, 2, true},      // two were drawn, the third was fixed
		{[]float64{1, 0.4, 0.5, 1}, 3, true}, // a pinned first place
		{[]float64{0.5, 0.5}, 2, false},      // the competitors for the second position are missing
		{[]float64{0.2, 0.3, 1, 1, 1}, 3, true},
	} {
		draw, complete := plackettluce.Recover(c.propensity)
		if len(draw.Positions) != c.positions || complete != c.complete {
			t.Errorf("%v: positions %v, complete %t", c.propensity, draw.Positions, complete)
		}
	}
}

// The order before a draw is the drawn items by weight, and everything else where it was.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		propensity []float64
		want       []int
	}{
		{[]float64{1, 1, 1}, []int{0, 1, 2}},
		{[]float64{0.9, 0.5, 1}, []int{0, 1, 2}},             // weights 18, 1, 1
		{[]float64{0.1, 0.9, 1}, []int{1, 0, 2}},             // weights 1.1, 9, 1
		{[]float64{1, 0.1, 0.9, 1, 1}, []int{0, 2, 1, 3, 4}}, // after a pinned item
	} {
		draw, _ := plackettluce.Recover(c.propensity)
		if got := draw.Order(len(c.propensity)); !slices.Equal(got, c.want) {
			t.Errorf("%v: the order before was %v, want %v", c.propensity, got, c.want)
		}
	}
}
