package evaluation

import (
	"math"
	"slices"

	"relish/internal/stats"
	"relish/training/examination"
	"relish/training/replay"
)

// LoggedOrder is the baseline that keeps the order in which the items were shown. Users click what
// stands first, so position bias flatters it: it is compared by position-corrected metrics only.
const LoggedOrder = "logged order"

// PositionBias says how position-corrected metrics were computed.
//
// A click's gain is divided by the probability that users look at its position, which estimates the
// gain that the item would have had at the best position (Joachims, Swaminathan and Schnabel,
// Unbiased learning-to-rank with biased feedback, WSDM 2017). A list counts by the mean weight of
// its clicks, and the weights are normalised to a mean of 1 (SNIPS).
type PositionBias struct {
	// Known reports whether the log tells what its positions explain. Otherwise there are no
	// corrected metrics.
	Known bool `json:"known"`
	// Explains reports whether positions explain clicks at all. Otherwise all weights are 1.
	Explains bool `json:"explains"`
	// Examination is the probability that users look at a position, relative to the best one, at
	// the first positionBiasDepth positions; nil unless positions explain clicks.
	Examination []float64 `json:"examination,omitempty"`
	Lists       int       `json:"lists"`    // that the estimate is based on
	Explored    int       `json:"explored"` // of these, lists that exploration reordered
}

// positionBiasDepth is the length of PositionBias.Examination.
const positionBiasDepth = 20

// newPositionBias describes an estimate.
func newPositionBias(e *examination.Estimate) *PositionBias {
	out := &PositionBias{
		Known: e.Sufficient(), Explains: e.Curve != nil, Lists: e.Lists, Explored: e.Explored,
	}
	for position := range positionBiasDepth {
		if out.Explains {
			out.Examination = append(out.Examination, e.Curve.Examination(position))
		}
	}
	return out
}

// correctedGains returns the gains of one list divided by the examination of their positions, and
// the list's weight.
func correctedGains(
	ex *replay.Example, gains []float64, curve *examination.Curve,
) (corrected []float64, weight float64) {
	corrected = make([]float64, len(gains))
	plain, sum := 0.0, 0.0
	for position, gain := range gains { // the candidates are in the order shown
		corrected[position] = gain
		if ex.Logged {
			corrected[position] *= curve.Weight(position)
		}
		plain, sum = plain+gain, sum+corrected[position]
	}
	return corrected, sum / plain
}

// meanReciprocalRank returns the mean of 1 / rank over the relevant candidates, weighted by their
// gains. MRR reads the first relevant candidate only. Which one is first depends on which clicks
// position bias left, so no weights can correct it.
func meanReciprocalRank(order []int, gains []float64) float64 {
	sum, total := 0.0, 0.0
	for position, i := range order {
		sum, total = sum+gains[i]/float64(position+1), total+gains[i]
	}
	return sum / total
}

// selfNormalised returns values whose mean is the weighted mean of the given ones, and whose spread
// gives the standard error of that mean by the delta method. Differences of two results with the
// same weights are paired.
func selfNormalised(values, weights []float64) []float64 {
	sum, total := 0.0, 0.0
	for i, w := range weights {
		sum, total = sum+w*values[i], total+w
	}
	mean, meanWeight := sum/total, total/float64(len(weights))
	out := make([]float64, len(values))
	for i, w := range weights {
		out[i] = mean + w/meanWeight*(values[i]-mean)
	}
	return out
}

// corrected returns a scorer's position-corrected NDCG and MRR by list, as selfNormalised does.
func (e *evaluator) corrected(r *result, lists []int) (ndcg, mrr []float64) {
	weights := SelectValues(e.weights, lists)
	return selfNormalised(SelectValues(r.correctedNDCG, lists), weights),
		selfNormalised(SelectValues(r.correctedMRR, lists), weights)
}

// addCorrected adds the position-corrected metrics of a row, if the log tells them.
func (e *evaluator) addCorrected(row *Row, r *result, lists []int) error {
	if !e.bias.Known {
		return nil
	}
	ndcg, mrr := e.corrected(r, lists)
	row.CorrectedNDCG, row.CorrectedMRR = &stats.Interval{}, &stats.Interval{}
	var err error
	if *row.CorrectedNDCG, err = stats.Bootstrap(ndcg, e.testSet.opt.Seed); err != nil {
		return err
	}
	*row.CorrectedMRR, err = stats.Bootstrap(mrr, e.testSet.opt.Seed)
	return err
}

// biasOf estimates the position bias of the whole log. A few numbers for all positions cannot
// favour a scorer, so the estimate may use the scored lists.
func biasOf(s *TestSet) (*PositionBias, *examination.Curve) {
	isLogged := func(l replay.RankingList) bool { return l.Logged }
	if !slices.ContainsFunc(s.lists, isLogged) {
		return &PositionBias{}, nil
	}
	e := examination.FromLog(s.Log, math.MaxUint64)
	return newPositionBias(e), e.Curve
}
