package rules

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

type diversity struct{ Diversity }

// Name implements ranker.Step.
func (*diversity) Name() string { return "diversity" }

// Apply implements ranker.Step. Relevance is the score scaled to 0..1 over the first Top entries;
// similarity is the cosine of the texts, 0 where one has none.
func (d *diversity) Apply(_ context.Context, l *ranker.List) error {
	n := min(d.Top, len(l.Entries))
	if n < 2 {
		return nil
	}
	left := slices.Clone(l.Entries[:n])
	top, low := left[0].Score, left[0].Score
	for _, e := range left {
		top, low = max(top, e.Score), min(low, e.Score)
	}
	span := max(top-low, 1e-12)
	nearest := make([]float64, n) // largest similarity to anything chosen, aligned with left
	for place := range n {
		best, bestValue := 0, math.Inf(-1)
		for i, e := range left {
			if v := d.Lambda*(e.Score-low)/span - (1-d.Lambda)*nearest[i]; v > bestValue {
				best, bestValue = i, v
			}
		}
		chosen := left[best]
		if l.Entries[place].Index != chosen.Index {
			chosen.MovedBy = append(slices.Clone(chosen.MovedBy), d.Name())
		}
		left, nearest = slices.Delete(left, best, best+1), slices.Delete(nearest, best, best+1)
		for i, e := range left {
			if a, b := l.Vectors[e.Index], l.Vectors[chosen.Index]; a != nil && b != nil {
				nearest[i] = max(nearest[i], float64(vek32.Dot(a, b)))
			}
		}
		// The entries not chosen yet are in left, so overwriting is safe.
		l.Entries[place] = chosen
	}
	return nil
}

type exploration struct{ Exploration }

// Name implements ranker.Step.
func (*exploration) Name() string { return "exploration" }

// Apply implements ranker.Step. Each place is drawn from what is left with probability proportional to
// exp(score / temperature) (Plackett 1975, Luce 1959); that probability is the logged propensity.
func (x *exploration) Apply(_ context.Context, l *ranker.List) error {
	var places []int
	for i := range l.Entries[:min(x.Top, len(l.Entries))] {
		if !slices.Contains(l.Entries[i].MovedBy, "pin") {
			places = append(places, i)
		}
	}
	l.Propensity = make([]float64, len(l.Entries))
	for i := range l.Propensity {
		l.Propensity[i] = 1
	}
	if len(places) < 2 {
		return nil
	}
	rng := rand.New(rand.NewPCG(xxhash.Sum64String(l.Request.ID), l.Request.Seed))
	left := make([]ranker.Entry, len(places))
	for k, at := range places {
		left[k] = l.Entries[at]
	}
	weights, total := x.weights(left)
	for _, at := range places {
		k := draw(weights, rng.Float64()*total)
		e := left[k]
		l.Propensity[at] = min(1, max(weights[k]/total, math.SmallestNonzeroFloat64))
		if l.Entries[at].Index != e.Index {
			e.MovedBy = append(slices.Clone(e.MovedBy), x.Name())
		}
		l.Entries[at] = e
		left, weights = slices.Delete(left, k, k+1), slices.Delete(weights, k, k+1)
		// Summed anew rather than subtracted: rounding would add up over the places.
		total = 0
		for _, w := range weights {
			total += w
		}
		if total < 1e-9 { // what is left is dwarfed by what is gone: weighed by itself, or it would be 0
			weights, total = x.weights(left)
		}
	}
	return nil
}

// weights returns exp(score / temperature) of the entries, scaled so that the largest is 1, and their sum.
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

// draw returns the index at which the running sum of weights passes u.
func draw(weights []float64, u float64) int {
	for k, w := range weights {
		if u < w {
			return k
		}
		u -= w
	}
	return len(weights) - 1
}
