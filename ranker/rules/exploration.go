package rules

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// exploration samples the order of the first entries.
type exploration struct{ Exploration }

// Name implements ranker.Rule.
func (*exploration) Name() string { return "exploration" }

// Apply implements ranker.Rule. It fills each position with one of the entries that are left, drawn
// with probability proportional to exp(score / temperature) (Plackett 1975, Luce 1959). That
// probability is the position's propensity. Pinned entries keep their positions. The random numbers
// depend on the request's id and seed alone, so that a replay draws the same order.
func (x *exploration) Apply(_ context.Context, l *ranker.List) error {
	var positions []int
	for i := range l.Entries[:min(x.Top, len(l.Entries))] {
		if !slices.Contains(l.Entries[i].MovedBy, "pin") {
			positions = append(positions, i)
		}
	}
	l.Propensity = make([]float64, len(l.Entries))
	for i := range l.Propensity {
		l.Propensity[i] = 1
	}
	if len(positions) < 2 {
		return nil
	}
	rng := rand.New(rand.NewPCG(xxhash.Sum64String(l.Request.ID), l.Request.Seed))
	left := make([]ranker.Entry, len(positions))
	for k, position := range positions {
		left[k] = l.Entries[position]
	}
	weights, total := x.weights(left)
	for _, position := range positions {
		k := draw(weights, rng.Float64()*total)
		e := left[k]
		l.Propensity[position] = min(1, max(weights[k]/total, math.SmallestNonzeroFloat64))
		if l.Entries[position].Index != e.Index {
			e.MovedBy = append(slices.Clone(e.MovedBy), x.Name())
		}
		l.Entries[position] = e
		left, weights = slices.Delete(left, k, k+1), slices.Delete(weights, k, k+1)
		// Summing again instead of subtracting keeps rounding errors from adding up over the
		// positions.
		total = 0
		for _, w := range weights {
			total += w
		}
		// If the drawn entries dwarf the rest, the rest is weighed again, or its sum would round to
		// 0.
		if total < 1e-9 {
			weights, total = x.weights(left)
		}
	}
	return nil
}

// weights returns exp(score / temperature) of the entries, scaled so that the largest is 1, and
// their sum.
func (x *exploration) weights(left []ranker.Entry) (weights []float64, total float64) {
	best := math.Inf(-1)
	for _, e := range left {
		best = max(best, e.Score)
	}
	weights = make([]float64, len(left))
	for k, e := range left {
		weights[k] = math.Exp((e.Score - best) / x.Temperature)
		total += weights[k]
	}
	return weights, total
}

// draw returns the index at which the running sum of weights exceeds u.
func draw(weights []float64, u float64) int {
	for k, w := range weights {
		if u < w {
			return k
		}
		u -= w
	}
	return len(weights) - 1
}
