// Package examination estimates how likely users look at each position of a list, from clicks.
//
// It assumes the position-based model: P(click) = P(the position is examined) x P(the item is
// clicked | it is examined) (Craswell, Zoeter, Taylor and Ramsey, An experimental comparison of
// click position-bias models, WSDM 2008). A click at a rarely examined position then says more than
// one at the top. Its weight is 1 / P(the position is examined), see Curve.Weight.
//
// The estimate needs items that were shown at several positions. It compares an item with itself
// only. If a list was explored, the position that the item had before the exploration is held
// constant too, so that nothing but the random draw is left of the position. Lists that Relish
// ranked without exploration are left out: their top positions hold what the user likes.
package examination

import (
	"fmt"
	"math"
	"strings"
)

// MinExamination bounds the examination probability from below, so that no click weighs more than
// ten clicks at the best position. Clipping costs a little bias and saves much variance (Wang,
// Golbandi, Bendersky, Metzler and Najork, Position bias estimation for unbiased learning to rank
// in personal search, WSDM 2018).
const MinExamination = 0.1

// binStarts are the first positions of the bins. All positions of a bin are estimated together.
var binStarts = [...]int{0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64}

const bins = len(binStarts)

// binOf returns the bin of a position.
func binOf(position int) int {
	bin := bins - 1
	for binStarts[bin] > position {
		bin--
	}
	return bin
}

// Curve is the examination probability by position. The best position has 1. It is read-only. The
// nil Curve is 1 everywhere: positions explain nothing, or the log does not tell.
type Curve struct {
	// bins has the examination probability at each bin's centre, MinExamination to 1.
	bins [bins]float64
}

// Examination returns the probability that users look at a position, from 0, relative to the best
// one: MinExamination to 1. It is 1 for a negative position, which is unknown.
func (c *Curve) Examination(position int) float64 {
	if c == nil || position < 0 {
		return 1
	}
	x := math.Log1p(float64(position))
	bin := binOf(position)
	if x < binCentre(bin) {
		bin--
	}
	if bin < 0 || bin == bins-1 {
		return c.bins[max(bin, 0)]
	}
	share := (x - binCentre(bin)) / (binCentre(bin+1) - binCentre(bin))
	return c.bins[bin]*(1-share) + c.bins[bin+1]*share
}

// Weight returns the weight of a click at a position: the inverse of Examination, 1 to 10.
func (c *Curve) Weight(position int) float64 { return 1 / c.Examination(position) }

// String lists the examination probability at some positions, counted from 1.
func (c *Curve) String() string {
	if c == nil {
		return "1 at every position"
	}
	var parts []string
	for _, position := range []int{1, 2, 3, 5, 10, 20, 50} {
		parts = append(parts, fmt.Sprintf("%d: %.2f", position, c.Examination(position-1)))
	}
	return strings.Join(parts, ", ")
}

// binCentre returns the centre of a bin in log1p(position).
func binCentre(bin int) float64 {
	if bin == bins-1 {
		return math.Log1p(float64(binStarts[bin]))
	}
	return (math.Log1p(float64(binStarts[bin])) + math.Log1p(float64(binStarts[bin+1]-1))) / 2
}
