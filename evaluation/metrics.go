// Package evaluate measures how well something ranks: lists with known labels go in; NDCG, MRR and more come out, with
// confidence intervals, by slice, next to plain baselines.
//
// Choose takes the newest part of a log. Part.Run walks over the log (package replay) and ranks each list of the part with the
// state as it was when the list was shown, and only then feeds the list and its clicks into the state: what is
// measured is what a live server would have done. All scorers of a Contest rank the same lists in the same walk, so
// that they can be compared list by list. Ties are broken at random, never by the order of a file: a constant
// score must measure like chance.
//
// Ablate and Cold are experiments that train their own models on what came before the part. Estimate says what a ranker
// would have earned on lists that another one explored.
package evaluation

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Order returns the candidates' indices by descending score, ties in random order. A score that is
// not finite is an error: it would silently break the metric.
func Order(scores []float64, rng *rand.Rand) ([]int, error) {
	order := rng.Perm(len(scores))
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("score of candidate %d is not finite", i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return order, nil
}

// NDCG returns the normalised discounted cumulative gain at k of gains taken in the given order
// (Järvelin and Kekäläinen 2002, with log2 discount and the gains as they are). It is NaN when no
// gain is positive: such a list says nothing.
func NDCG(order []int, gains []float64, k int) float64 {
	ideal := slices.Clone(gains)
	slices.SortFunc(ideal, func(a, b float64) int { return cmp.Compare(b, a) })
	best := dcg(ideal, k)
	if best == 0 {
		return math.NaN()
	}
	got := make([]float64, len(order))
	for place, i := range order {
		got[place] = gains[i]
	}
	return dcg(got, k) / best
}

func dcg(gains []float64, k int) float64 {
	sum := 0.0
	for place, g := range gains[:min(k, len(gains))] {
		sum += g / math.Log2(float64(place)+2)
	}
	return sum
}

// MRR returns one over the place of the first candidate with a positive gain, 0 when there is none.
func MRR(order []int, gains []float64) float64 {
	for place, i := range order {
		if gains[i] > 0 {
			return 1 / float64(place+1)
		}
	}
	return 0
}
