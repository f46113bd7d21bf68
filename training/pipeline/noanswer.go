package pipeline

import (
	"cmp"
	"context"
	"math"
	"slices"

	"relish/evaluation"
	"relish/ranker"
	"relish/training/modelcard"
	"relish/training/replay"
)

// noAnswerColumns are what the estimate of ranker.NoAnswer may read: the highest score, or the
// highest value of a column.
var noAnswerColumns = []string{
	"", "text.query", "query_history.max", "query_history.kernel", "query_history.center",
}

const (
	// minNoAnswerLists is the number of held-out lists that the estimate needs.
	minNoAnswerLists = 100
	// maxNoAnswerLists bounds the lists that are ranked a second time.
	maxNoAnswerLists = 2000
	// minNoAnswerAUC is the least AUC at which the estimate is worth having.
	minNoAnswerAUC = 0.6
)

// noAnswerSample collects held-out lists with a search text, each with and without the items that
// were chosen.
type noAnswerSample struct {
	// values has, by noAnswerColumns, the value of each list; NaN if no candidate has one.
	values [][]float64
	fits   []float64 // 1 for a list with its chosen items, 0 without
}

// noAnswerResult is the estimate and how good it is on lists that it was not fitted on.
type noAnswerResult struct {
	estimate         ranker.NoAnswer
	lists            int     // with their chosen items; there are as many without
	auc              float64 // probability that a list without an answer has the higher estimate
	caught           float64 // share of the lists without an answer that reach the threshold
	lost             float64 // share of the lists with an answer that reach it
	calibrationError float64
}

// add ranks a list again without the items that were chosen. m and scores are those of the list.
func (s *noAnswerSample) add(
	ctx context.Context, of *modelScorer, x *replay.Example, m *ranker.Matrix, scores []float64,
) error {
	if ranker.SearchText(x.Request.Context) == "" || len(s.fits) >= 2*maxNoAnswerLists {
		return nil
	}
	without := *x.Request
	without.Deadline, without.Candidates = replay.OfflineDeadline, nil
	for i, c := range x.Request.Candidates {
		if x.Gains[i] <= 0 {
			without.Candidates = append(without.Candidates, c)
		}
	}
	if n := len(without.Candidates); n == 0 || n == len(x.Request.Candidates) {
		return nil
	}
	rest, _, err := of.pipeline.Matrix(ctx, of.model, &without)
	if err != nil {
		return err
	}
	restScores := make([]float64, rest.N)
	if err := of.model.Scorer.Score(rest, restScores); err != nil {
		return err
	}
	s.addRow(m, scores, 1)
	s.addRow(rest, restScores, 0)
	return nil
}

func (s *noAnswerSample) addRow(m *ranker.Matrix, scores []float64, fits float64) {
	if s.values == nil {
		s.values = make([][]float64, len(noAnswerColumns))
	}
	for k, column := range noAnswerColumns {
		value, ok := (&ranker.NoAnswer{Column: column}).Value(m, scores)
		if !ok {
			value = math.NaN()
		}
		s.values[k] = append(s.values[k], value)
	}
	s.fits = append(s.fits, fits)
}

// fit chooses the column that best separates lists with an answer from those without, and fits the
// estimate, on the first half of the lists. It measures the estimate on the second half. It returns
// nil if there are too few lists, or if nothing separates the two kinds.
func (s *noAnswerSample) fit() *noAnswerResult {
	n := len(s.fits)
	if n < 2*minNoAnswerLists {
		return nil
	}
	half := n / 4 * 2 // a list and its copy stay together
	best := -1
	highest := 0.0
	for k := range noAnswerColumns {
		if slices.ContainsFunc(s.values[k], math.IsNaN) {
			continue
		}
		auc, err := evaluation.AUC(s.values[k][:half], s.fits[:half])
		if err == nil && auc > highest {
			best, highest = k, auc
		}
	}
	if best < 0 {
		return nil
	}
	values := s.values[best]
	sigmoid, err := evaluation.FitSigmoid(values[:half], s.fits[:half])
	if err != nil {
		return nil
	}
	out := &noAnswerResult{lists: n / 2, estimate: ranker.NoAnswer{
		Column: noAnswerColumns[best], Slope: sigmoid.Slope, Offset: sigmoid.Offset,
	}}
	out.estimate.Threshold = bestThreshold(probabilities(sigmoid, values[:half]), s.fits[:half])
	if !out.measure(probabilities(sigmoid, values[half:]), s.fits[half:]) {
		return nil
	}
	return out
}

// probabilities returns the probabilities of no answer.
func probabilities(s evaluation.Sigmoid, values []float64) []float64 {
	out := make([]float64, len(values))
	for i, x := range values {
		out[i] = 1 - s.Probability(x)
	}
	return out
}

// measure sets how good the estimate is, and reports whether it is good enough.
func (r *noAnswerResult) measure(noAnswer, fits []float64) bool {
	lacks := make([]float64, len(fits))
	for i, x := range fits {
		lacks[i] = 1 - x
	}
	var err error
	if r.auc, err = evaluation.AUC(noAnswer, lacks); err != nil || r.auc < minNoAnswerAUC {
		return false
	}
	bins, err := evaluation.Reliability(noAnswer, lacks, 10)
	if err != nil {
		return false
	}
	r.calibrationError = evaluation.CalibrationError(bins)
	r.caught, r.lost = sharesFrom(noAnswer, fits, r.estimate.Threshold)
	return true
}

// sharesFrom returns which share of the lists without and with an answer reach a threshold.
func sharesFrom(noAnswer, fits []float64, threshold float64) (caught, lost float64) {
	with, without := 0.0, 0.0
	for i, p := range noAnswer {
		reached := 0.0
		if p >= threshold {
			reached = 1
		}
		if fits[i] > 0 {
			with, lost = with+1, lost+reached
		} else {
			without, caught = without+1, caught+reached
		}
	}
	return caught / max(1, without), lost / max(1, with)
}

// bestThreshold returns the probability with the largest difference between the shares of the lists
// without and with an answer that reach it (Youden 1950). There are as many lists of both kinds.
func bestThreshold(noAnswer, fits []float64) float64 {
	order := make([]int, len(noAnswer))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(noAnswer[b], noAnswer[a]) })
	best, highest, difference := 1.0, 0.0, 0.0
	for k, i := range order {
		difference += 1 - 2*fits[i]
		last := k == len(order)-1 || noAnswer[order[k+1]] != noAnswer[i]
		if last && difference > highest {
			best, highest = noAnswer[i], difference
		}
	}
	return best
}

// addNoAnswer says on the model card whether the bundle knows that no candidate fits.
func addNoAnswer(d *modelcard.Data, r *noAnswerResult) {
	if r == nil {
		return
	}
	from := r.estimate.Column
	if from == "" {
		from = "score"
	}
	note(d, "The bundle estimates whether no candidate answers a search text (no_answer), from "+
		"the highest %s of a list. On held-out lists, with and without the chosen items: "+
		"AUC %.3f, calibration error %.3f. At the threshold no_answer >= %.2f, that is "+
		"min_fit %.2f, %.0f %% of the lists without an answer are found, and %.0f %% of the "+
		"others are lost. It was learned from %d lists.",
		from, r.auc, r.calibrationError, r.estimate.Threshold, 1-r.estimate.Threshold,
		100*r.caught, 100*r.lost, r.lists)
}
