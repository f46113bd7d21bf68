// Package plackettluce finds the random draw behind a list that exploration has reordered, from the
// logged propensities of its positions.
package plackettluce

import (
	"cmp"
	"math"
	"slices"
)

// Draw is the part of a logged list that was drawn at random without replacement, with
// probabilities proportional to weights (Plackett, The analysis of permutations, 1975). It is
// read-only.
type Draw struct {
	Positions []int     // of the list, from 0, ascending
	Weights   []float64 // of the items shown there, aligned with Positions; the last one is 1
	total     float64   // sum of the weights
}

// Recover finds the draw behind logged propensities P(item at this position | the
// positions above it).
//
// The propensities determine the weights up to a factor. The last item drawn had no competitor;
// going up, P = w / (w + sum of the weights below). A position with probability 1 was fixed, unless
// it was the last draw. complete is false if the list ends within the drawn part, because the
// weights of the missing items are then unknown.
func Recover(propensity []float64) (draw Draw, complete bool) {
	last := -1
	for i, p := range propensity {
		if p < 1 {
			draw.Positions = append(draw.Positions, i)
			last = i
		}
	}
	if last < 0 {
		return draw, true
	}
	if last == len(propensity)-1 {
		return draw, false
	}
	draw.Positions = append(draw.Positions, last+1)
	draw.Weights = make([]float64, len(draw.Positions))
	draw.Weights[len(draw.Positions)-1], draw.total = 1, 1
	for k := len(draw.Positions) - 2; k >= 0; k-- {
		below := draw.total
		draw.total = below / (1 - propensity[draw.Positions[k]])
		draw.Weights[k] = draw.total - below
	}
	return draw, true
}

// Order returns the positions of a list of n items in the order that the list most likely had
// before the draw: drawn items by falling weight, the others at their places. order[k] is the
// logged position of the item whose place was k.
func (d *Draw) Order(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	byWeight := make([]int, len(d.Positions)) // indices into Positions
	for k := range byWeight {
		byWeight[k] = k
	}
	slices.SortStableFunc(byWeight, func(a, b int) int {
		return cmp.Compare(d.Weights[b], d.Weights[a])
	})
	for place, k := range byWeight {
		order[d.Positions[place]] = d.Positions[k]
	}
	return order
}

// The integral of Marginal is a sum over an even grid of ln t. It converges like e^(-2 pi 1.5 /
// step), as the trapezoidal rule does for an analytic function that falls off at both ends
// (Trefethen and Weideman, The exponentially convergent trapezoidal rule, SIAM Review 2014).
const (
	integrationStep = 0.25
	integrationTail = 24 // leaves out a part of e^-24 at the lower end
)

// Marginal returns the probability that the item drawn k-th comes k-th, over all possible draws.
//
// A Plackett-Luce draw is the order of arrival in a race of exponential times whose rates are the
// weights (Luce, Individual Choice Behavior, 1959). The result is therefore the integral, over the
// item's own time t, of the probability that exactly k others have arrived by t. That number has a
// Poisson-binomial distribution.
func (d *Draw) Marginal(k int) float64 {
	own := d.Weights[k]
	sum := 0.0
	arrived := make([]float64, k+1) // P(n others have arrived), by n up to k
	for y := math.Log(own/d.total) - integrationTail; y < 4; y += integrationStep {
		t := math.Exp(y) / own
		clear(arrived)
		arrived[0] = 1
		for i, w := range d.Weights {
			if i == k {
				continue
			}
			p := -math.Expm1(-w * t)
			for n := k; n > 0; n-- {
				arrived[n] = arrived[n]*(1-p) + arrived[n-1]*p
			}
			arrived[0] *= 1 - p
		}
		sum += arrived[k] * own * t * math.Exp(-own*t) * integrationStep
	}
	return min(1, sum)
}
