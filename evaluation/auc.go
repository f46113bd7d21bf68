package evaluation

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// AUC returns the probability that a relevant candidate (positive gain) has a higher score than one
// that is not, ties counting half: the area under the ROC curve, by the ranks of the Mann-Whitney
// statistic (Hanley and McNeil 1982; mid-ranks for ties) in O(n log n). Scores and gains are aligned.
//
// Over one list it says how well the list is ordered; over all lists' candidates together (pooled) it
// also says whether scores of different lists can be compared, which a ranker need not care for. It
// is NaN when all candidates are relevant or none is. A score that is not finite is an error.
func AUC(scores, gains []float64) (float64, error) {
	if len(scores) != len(gains) {
		return 0, fmt.Errorf("%d scores for %d gains", len(scores), len(gains))
	}
	order := make([]int, len(scores))
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return 0, fmt.Errorf("score of candidate %d is not finite", i)
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	ranks, relevant := 0.0, 0.0
	for start := 0; start < len(order); {
		end := start + 1
		for end < len(order) && scores[order[end]] == scores[order[start]] {
			end++
		}
		rank := float64(start+end+1) / 2 // the mean of the ranks start+1 to end
		for _, i := range order[start:end] {
			if gains[i] > 0 {
				ranks += rank
				relevant++
			}
		}
		start = end
	}
	others := float64(len(order)) - relevant
	if relevant == 0 || others == 0 {
		return math.NaN(), nil
	}
	return (ranks - relevant*(relevant+1)/2) / (relevant * others), nil
}
