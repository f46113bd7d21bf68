package evaluation

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// The metrics of one list take the candidates' indices in the order to judge, and their gains, by
// candidate. A candidate is relevant if its gain is positive.

// Order returns the candidates' indices by descending score, with ties in random order. A score
// that is NaN or infinite is an error: it would silently spoil the metric.
func Order(scores []float64, rng *rand.Rand) ([]int, error) {
	order := rng.Perm(len(scores))
	if err := checkFinite(scores); err != nil {
		return nil, err
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return order, nil
}

func checkFinite(scores []float64) error {
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return fmt.Errorf("the score of candidate %d is %g; scores must be finite", i, s)
		}
	}
	return nil
}

// NDCG returns the normalised discounted cumulative gain at cutoff k, from 0 to 1 (Järvelin and
// Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002; discount 1/log2(rank+1),
// gains as they are). It is NaN if no gain is positive, because no order of such a list is better
// than another.
func NDCG(order []int, gains []float64, k int) float64 {
	ideal := slices.Clone(gains)
	slices.SortFunc(ideal, func(a, b float64) int { return cmp.Compare(b, a) })
	best := dcg(ideal, k)
	if best == 0 {
		return math.NaN()
	}
	got := make([]float64, len(order))
	for position, i := range order {
		got[position] = gains[i]
	}
	return dcg(got, k) / best
}

func dcg(gains []float64, k int) float64 {
	sum := 0.0
	for position, g := range gains[:min(k, len(gains))] {
		sum += g / math.Log2(float64(position)+2)
	}
	return sum
}

// MRR returns the reciprocal rank of the first relevant candidate, 0 if there is none. Its mean
// over lists is the mean reciprocal rank (Voorhees, The TREC-8 question answering track report,
// 1999).
func MRR(order []int, gains []float64) float64 {
	for position, i := range order {
		if gains[i] > 0 {
			return 1 / float64(position+1)
		}
	}
	return 0
}

// AveragePrecision returns the average precision at cutoff k: the mean precision at the positions
// of the relevant candidates (Manning, Raghavan and Schütze, Introduction to Information Retrieval,
// 2008, section 8.4). Its mean over lists is MAP@k.
//
// The sum is divided by the smaller of k and the number of relevant candidates, so that 1 can be
// reached. It is NaN if no gain is positive.
func AveragePrecision(order []int, gains []float64, k int) float64 {
	relevant, sum := 0, 0.0
	for position, i := range order {
		if gains[i] <= 0 {
			continue
		}
		relevant++
		if position < k { // then all relevant candidates so far are within k
			sum += float64(relevant) / float64(position+1)
		}
	}
	if relevant == 0 {
		return math.NaN()
	}
	return sum / float64(min(k, relevant))
}

// HitRate returns 1 if a relevant candidate is among the first k of the order, else 0. Its mean
// over lists is HR@k. It is NaN if no gain is positive.
func HitRate(order []int, gains []float64, k int) float64 {
	rate := math.NaN()
	for position, i := range order {
		if gains[i] <= 0 {
			continue
		}
		if position < k {
			return 1
		}
		rate = 0
	}
	return rate
}

// AUC returns the area under the ROC curve: the probability that a relevant candidate scores higher
// than one that is not relevant, where a tie counts half. scores and gains are aligned.
//
// It is computed from the mid-ranks of the Mann-Whitney statistic in O(n log n) (Hanley and McNeil,
// The meaning and use of the area under a ROC curve, Radiology 1982). It is NaN if all candidates
// are relevant or none is. A score that is not finite is an error.
//
// Over one list, AUC measures the order. Pooled over the candidates of all lists, it also measures
// whether scores of different lists can be compared, which ranking does not need.
func AUC(scores, gains []float64) (float64, error) {
	if len(scores) != len(gains) {
		return 0, fmt.Errorf("%d scores for %d gains; the lengths must be equal",
			len(scores), len(gains))
	}
	if err := checkFinite(scores); err != nil {
		return 0, err
	}
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	rankSum, relevant := 0.0, 0.0
	for start := 0; start < len(order); {
		end := start + 1
		for end < len(order) && scores[order[end]] == scores[order[start]] {
			end++
		}
		midRank := float64(start+end+1) / 2 // mean of the ranks start+1 to end
		for _, i := range order[start:end] {
			if gains[i] > 0 {
				rankSum += midRank
				relevant++
			}
		}
		start = end
	}
	others := float64(len(order)) - relevant
	if relevant == 0 || others == 0 {
		return math.NaN(), nil
	}
	return (rankSum - relevant*(relevant+1)/2) / (relevant * others), nil
}

// DropNaN returns the values that are not NaN. A metric is NaN for a list that it cannot judge, and
// the mean is taken over the others. Whether a metric is NaN depends on the gains alone, so two
// scorers on the same lists lose the same values and stay paired.
func DropNaN(values []float64) []float64 {
	out := make([]float64, 0, len(values))
	for _, x := range values {
		if !math.IsNaN(x) {
			out = append(out, x)
		}
	}
	return out
}
