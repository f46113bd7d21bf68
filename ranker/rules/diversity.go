package rules

import (
	"context"
	"math"
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// diversity reorders the first entries so that neighbors differ.
type diversity struct{ Diversity }

// Name implements ranker.Rule.
func (*diversity) Name() string { return "diversity" }

// Apply implements ranker.Rule. It fills each position with the entry whose value lambda *
// relevance - (1 - lambda) * similarity is largest. Relevance is the score scaled to 0..1 over the
// first Top entries. Similarity is the largest cosine of the entry's text with an entry above, 0 if
// one of the two has no text.
func (d *diversity) Apply(_ context.Context, l *ranker.List) error {
	n := min(d.Top, len(l.Entries))
	if n < 2 {
		return nil
	}
	left := slices.Clone(l.Entries[:n])
	highest, lowest := left[0].Score, left[0].Score
	for _, e := range left {
		highest, lowest = max(highest, e.Score), min(lowest, e.Score)
	}
	span := max(highest-lowest, 1e-12)
	similarity := make([]float64, n) // aligned with left
	for position := range n {
		best, bestValue := 0, math.Inf(-1)
		for i, e := range left {
			if v := d.Lambda*(e.Score-lowest)/span - (1-d.Lambda)*similarity[i]; v > bestValue {
				best, bestValue = i, v
			}
		}
		chosen := left[best]
		if l.Entries[position].Index != chosen.Index {
			chosen.MovedBy = append(slices.Clone(chosen.MovedBy), d.Name())
		}
		left, similarity = slices.Delete(
			left,
			best,
			best+1,
		), slices.Delete(
			similarity,
			best,
			best+1,
		)
		for i, e := range left {
			if a, b := l.Vectors[e.Index], l.Vectors[chosen.Index]; a != nil && b != nil {
				similarity[i] = max(similarity[i], float64(vek32.Dot(a, b)))
			}
		}
		// The entries that are not chosen yet are in left, so overwriting one here loses nothing.
		l.Entries[position] = chosen
	}
	return nil
}
