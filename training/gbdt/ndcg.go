package gbdt

import (
	"errors"
	"fmt"
	"math"
)

// ndcgDepth is the cut-off of the validation metric, NDCG@10.
const ndcgDepth = 10

// validator measures NDCG@10 on the validation lists.
//
// Rows with equal scores count as being in random order: a gain is discounted by the mean discount
// of the positions that the equal rows share (McSherry and Najork 2008). Package evaluation
// measures the same in the mean over its random orders. Lists without a gain are left out.
type validator struct {
	lists []validationList
	// discountSums[k] is the sum of the discounts of the first k positions.
	discountSums [ndcgDepth + 1]float64
}

// validationList is the rows start to end-1.
type validationList struct {
	start, end int
	gains      []float32 // by row of the list
	relevant   []int     // rows of the list with a gain
	ideal      float64   // DCG of the best order
	weight     float64   // of its first row
}

func newValidator(d *Dataset) (*validator, error) {
	v := &validator{}
	for k := range ndcgDepth {
		v.discountSums[k+1] = v.discountSums[k] + 1/math.Log2(float64(k)+2)
	}
	start := 0
	for _, n := range d.Groups {
		end := start + int(n)
		l := validationList{start: start, end: end, gains: d.Labels[start:end], weight: 1}
		if d.Weights != nil {
			l.weight = float64(d.Weights[start])
		}
		start = end
		bestScores := make([]float64, n)
		for i, gain := range l.gains {
			bestScores[i] = float64(gain)
			if gain > 0 {
				l.relevant = append(l.relevant, i)
			}
		}
		if len(l.relevant) == 0 {
			continue
		}
		if l.ideal = v.dcg(&l, bestScores); l.ideal > 0 {
			v.lists = append(v.lists, l)
		}
	}
	if len(v.lists) == 0 {
		return nil, errors.New("gbdt: valid.Labels has no list with a gain above 0: " +
			"there is nothing to validate on")
	}
	return v, nil
}

// dcg returns the expected discounted cumulative gain of the list in the order of the scores.
func (v *validator) dcg(l *validationList, scores []float64) float64 {
	sum := 0.0
	for _, i := range l.relevant {
		better, equal := 0, 0
		for _, s := range scores {
			switch {
			case s > scores[i]:
				better++
			case s == scores[i]:
				equal++
			}
		}
		first, last := min(better, ndcgDepth), min(better+equal, ndcgDepth)
		discounts := v.discountSums[last] - v.discountSums[first]
		sum += float64(l.gains[i]) * discounts / float64(equal)
	}
	return sum
}

// measure returns the mean NDCG@10 over the lists, weighted by their weights. scores has one entry
// per validation row.
func (v *validator) measure(scores []float64) (float64, error) {
	sum, total := 0.0, 0.0
	for i := range v.lists {
		l := &v.lists[i]
		listScores := scores[l.start:l.end]
		for _, x := range listScores {
			if !isFinite(x) {
				return 0, fmt.Errorf("gbdt: a validation score is %g: lower LearningRate, raise "+
					"LambdaL2, "+
					"or check Weights", x)
			}
		}
		sum += l.weight * v.dcg(l, listScores) / l.ideal
		total += l.weight
	}
	return sum / total, nil
}

func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
