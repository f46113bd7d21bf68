package gbdt

import (
	"fmt"
	"math"
)

// validator measures NDCG@10 on the validation lists. Rows of equal score count as in random order: a
// gain is discounted by the mean over the places that its equals share (McSherry and Najork 2008), which
// is what package evaluate measures in the mean over its random orders. Lists without a gain say nothing
// and are left out.
type validator struct {
	lists        []validationList
	discountSums [ndcgDepth + 1]float64 // sums[k] = the discounts of the first k places
}

const ndcgDepth = 10

type validationList struct {
	from, to int
	gains    []float32 // of rows from to to
	relevant []int     // rows with a gain
	ideal    float64
}

func newValidator(d *Dataset) (*validator, error) {
	v := &validator{}
	for k := range ndcgDepth {
		v.discountSums[k+1] = v.discountSums[k] + 1/math.Log2(float64(k)+2)
	}
	from := 0
	for _, n := range d.Groups {
		l := validationList{from: from, to: from + int(n), gains: d.Labels[from : from+int(n)]}
		from = l.to
		ideal := make([]float64, n)
		for i, g := range l.gains {
			ideal[i] = float64(g)
			if g > 0 {
				l.relevant = append(l.relevant, i)
			}
		}
		if len(l.relevant) == 0 {
			continue
		}
		if l.ideal = v.dcg(&l, ideal); l.ideal > 0 {
			v.lists = append(v.lists, l)
		}
	}
	if len(v.lists) == 0 {
		return nil, fmt.Errorf("trees: valid.Labels has no list with a gain above 0: nothing to validate by")
	}
	return v, nil
}

// dcg is the expected discounted gain of the list under the scores.
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
		discounts := v.discountSums[min(better+equal, ndcgDepth)] - v.discountSums[min(better, ndcgDepth)]
		sum += float64(l.gains[i]) * discounts / float64(equal)
	}
	return sum
}

// measure returns the mean NDCG@10 over the lists.
func (v *validator) measure(scores []float64) (float64, error) {
	sum := 0.0
	for i := range v.lists {
		l := &v.lists[i]
		s := scores[l.from:l.to]
		for _, x := range s {
			if x-x != 0 {
				return 0, fmt.Errorf("trees: a validation score is %g: lower LearningRate, raise L2, or look at Weights", x)
			}
		}
		sum += v.dcg(l, s) / l.ideal
	}
	return sum / float64(len(v.lists)), nil
}
