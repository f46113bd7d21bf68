package evaluation

import "math"

// AveragePrecision returns the average precision at k of gains taken in the given order: the mean,
// over the relevant candidates (positive gain), of the precision at their places up to k, as if no
// more than k could be found (Manning, Raghavan and Schütze, Introduction to Information Retrieval,
// 2008, section 8.4; the cut as in trec_eval's successors: divided by the smaller of k and the number
// of relevant candidates, so that 1 can be reached). Its mean over lists is MAP@k. It is NaN when no
// gain is positive: such a list says nothing.
func AveragePrecision(order []int, gains []float64, k int) float64 {
	relevant, sum := 0, 0.0
	for place, i := range order {
		if gains[i] <= 0 {
			continue
		}
		relevant++
		if place < k {
			sum += float64(relevant) / float64(place+1) // every relevant one so far stands within k too
		}
	}
	if relevant == 0 {
		return math.NaN()
	}
	return sum / float64(min(k, relevant))
}

// HitRate returns 1 when a relevant candidate (positive gain) stands among the first k of the order,
// else 0; its mean over lists is HR@k. It is NaN when no gain is positive.
func HitRate(order []int, gains []float64, k int) float64 {
	relevant := math.NaN()
	for place, i := range order {
		if gains[i] <= 0 {
			continue
		}
		if place < k {
			return 1
		}
		relevant = 0
	}
	return relevant
}

// DropNaN returns the values that are numbers: the per-list metrics here are NaN for a list that says
// nothing, and a mean is taken over the others. Scorers compared on the same lists keep their pairing,
// since what a list can say depends on its labels alone.
func DropNaN(xs []float64) []float64 {
	out := make([]float64, 0, len(xs))
	for _, x := range xs {
		if !math.IsNaN(x) {
			out = append(out, x)
		}
	}
	return out
}
