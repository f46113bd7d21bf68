package evaluation

import "math"

// plackettLuce is the part of a logged list that was drawn at random, by Plackett-Luce: which places, and with
// what weights the items there competed.
type plackettLuce struct {
	positions []int     // of the list, rising
	weights   []float64 // of the items shown there, aligned with places; the last one is 1
	total     float64   // of all weights
}

// recoverPlackettLuce finds it from the logged propensities P(item at this place | the places above it). They
// determine the weights up to a factor: the last one drawn had no rival, and going up,
// P = w / (w + all weights below). Places with probability 1 were fixed, but for the last draw.
// whole is false for a list that was cut off within the drawn part: what it lacks had weights too.
func recoverPlackettLuce(propensity []float64) (x plackettLuce, whole bool) {
	last := -1
	for i, p := range propensity {
		if p < 1 {
			x.positions = append(x.positions, i)
			last = i
		}
	}
	if last < 0 {
		return x, true
	}
	if last == len(propensity)-1 {
		return x, false
	}
	x.positions = append(x.positions, last+1)
	x.weights = make([]float64, len(x.positions))
	x.weights[len(x.positions)-1], x.total = 1, 1
	for k := len(x.positions) - 2; k >= 0; k-- {
		below := x.total
		x.total = below / (1 - propensity[x.positions[k]])
		x.weights[k] = x.total - below
	}
	return x, true
}

// The integral below is a sum over an even grid of ln t, which converges like e^(-2 pi 1.5 / step)
// (the trapezoidal rule on an analytic function that falls off at both ends; Trefethen and Weideman 2014).
const (
	integrationStep = 0.25
	integrationTail = 24 // e^-24 is left out below
)

// marginal returns the probability that the item drawn k-th came k-th, over all ways to draw. A draw by
// Plackett-Luce is the order of arrival in a race of exponential times with the weights as rates (Luce
// 1959; Gumbel's trick), so that it is the integral over the item's own time t of the chance that
// exactly k of the others have arrived by t, a Poisson-binomial count.
func (x *plackettLuce) marginal(k int) float64 {
	own := x.weights[k]
	sum := 0.0
	arrived := make([]float64, k+1) // P(that many others have arrived), up to k
	for y := math.Log(own/x.total) - integrationTail; y < 4; y += integrationStep {
		t := math.Exp(y) / own
		clear(arrived)
		arrived[0] = 1
		for i, w := range x.weights {
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
