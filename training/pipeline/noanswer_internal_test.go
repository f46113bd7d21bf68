package pipeline

import (
	"math"
	"math/rand/v2"
	"testing"
)

// answerSample draws lists whose highest value of a column is higher by shift if an answer is
// there. The score says nothing.
func answerSample(lists int, shift float64) *noAnswerSample {
	r := rand.New(rand.NewPCG(3, 3))
	s := &noAnswerSample{values: make([][]float64, len(noAnswerColumns))}
	for i := range 2 * lists {
		fits := float64(1 - i%2)
		s.fits = append(s.fits, fits)
		for k := range s.values {
			value := r.NormFloat64()
			switch noAnswerColumns[k] {
			case "query_history.kernel":
				value += shift * fits
			case "query_history.max": // it would tell best, but some lists lack it
				if value = fits; i == 7 {
					value = math.NaN()
				}
			}
			s.values[k] = append(s.values[k], value)
		}
	}
	return s
}

// The estimate reads the column that separates the lists, is calibrated on other lists, and has the
// threshold half-way. Without enough lists, or if no column separates them, there is none.
func TestNoAnswerFit(t *testing.T) {
	got := answerSample(800, 2).fit()
	if got == nil || got.estimate.Column != "query_history.kernel" {
		t.Fatalf("the fit is %+v", got)
	}
	if got.estimate.Validate() != nil || got.estimate.Slope < 1.5 || got.estimate.Slope > 2.5 ||
		math.Abs(got.estimate.Threshold-0.5) > 0.15 {
		t.Errorf("estimate %+v", got.estimate)
	}
	// Two normal distributions two standard deviations from each other have an AUC of .921,
	// and 16 % on the wrong side.
	if math.Abs(got.auc-0.921) > 0.03 || math.Abs(got.caught-0.84) > 0.07 ||
		math.Abs(got.lost-0.16) > 0.07 || got.calibrationError > 0.08 || got.lists != 800 {
		t.Errorf("measured %+v", got)
	}
	if got := answerSample(800, 0).fit(); got != nil {
		t.Errorf("nothing tells, and the fit is %+v", got)
	}
	if got := answerSample(90, 2).fit(); got != nil {
		t.Errorf("90 lists give %+v", got)
	}
}
