package evaluation

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"relish/internal/stats"
)

// Bin is one point of a reliability plot: N candidates whose predicted probabilities have the mean
// Predicted, and of which the share Observed was relevant, with its exact 95 % interval.
type Bin struct {
	Predicted float64 `json:"predicted"`
	Observed  float64 `json:"observed"`
	Low       float64 `json:"low"`
	High      float64 `json:"high"`
	N         int     `json:"n"`
}

// Reliability sorts candidates by predicted probability and cuts them into n bins of equal mass
// (Nguyen and O'Connor, Posterior calibration and exploratory analysis for natural language processing
// models, EMNLP 2015): unlike bins of equal width, none is empty or overfull where nearly all
// probabilities are small. Equal predictions stay in one bin, so there may be fewer than n and nothing
// hangs on the order of the input. Candidates count as independent in the intervals, which those of one
// list are not quite. A prediction outside of 0 to 1 is an error: scores need FitSigmoid first.
func Reliability(predicted, gains []float64, n int) ([]Bin, error) {
	if len(predicted) != len(gains) {
		return nil, fmt.Errorf("%d predictions for %d gains", len(predicted), len(gains))
	}
	if n < 1 {
		return nil, fmt.Errorf("%d bins; it takes at least one", n)
	}
	order := make([]int, len(predicted))
	for i, p := range predicted {
		if !(p >= 0 && p <= 1) {
			return nil, fmt.Errorf("prediction %d is %g, no probability; fit a sigmoid to the scores first", i, p)
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(predicted[a], predicted[b]) })
	var bins []Bin
	start := 0
	for b := 1; b <= n && start < len(order); b++ {
		end := len(order) * b / n
		if end <= start {
			continue // an earlier bin took these in with its ties
		}
		for end < len(order) && predicted[order[end]] == predicted[order[end-1]] {
			end++
		}
		bins = append(bins, newBin(order[start:end], predicted, gains))
		start = end
	}
	return bins, nil
}

func newBin(of []int, predicted, gains []float64) Bin {
	b, sum, relevant := Bin{N: len(of)}, 0.0, 0.0
	for _, i := range of {
		sum += predicted[i]
		if gains[i] > 0 {
			relevant++
		}
	}
	b.Predicted, b.Observed = sum/float64(b.N), relevant/float64(b.N)
	b.Low, b.High = stats.ClopperPearson(relevant, float64(b.N), 0.05)
	return b
}

// CalibrationError returns the expected calibration error of the bins: the mean distance between
// predicted and observed, weighted by the bins' sizes (ECE; Naeini, Cooper and Hauskrecht, AAAI 2015),
// from 0 to 1; NaN without any. It is above 0 by chance alone, the more the smaller the bins.
func CalibrationError(bins []Bin) float64 {
	n, sum := 0, 0.0
	for _, b := range bins {
		n += b.N
		sum += float64(b.N) * math.Abs(b.Predicted-b.Observed)
	}
	return sum / float64(n)
}
