package ranker

import (
	"errors"
	"math"
	"slices"
)

// NoAnswer estimates from the scores of a list how probable it is that no candidate answers the
// search text. It is calibrated on lists from which the chosen items were removed. It is immutable.
type NoAnswer struct {
	// Column is the matrix column whose highest value of the list is read; "": the highest score.
	Column string `json:"column"`
	// Slope and Offset are the sigmoid that turns the value into the probability that a candidate
	// fits.
	Slope  float64 `json:"slope"`
	Offset float64 `json:"offset"`
	// Threshold is the probability of no answer from which it is better to give none, 0 to 1: the
	// one that tells most lists with an answer from those without.
	Threshold float64 `json:"threshold"`
}

// Validate returns an error if a value is not finite or out of its range.
func (n *NoAnswer) Validate() error {
	x := n.Slope + n.Offset // NaN or infinite if either is
	if math.IsNaN(x) || math.IsInf(x, 0) || !(n.Threshold >= 0 && n.Threshold <= 1) {
		return errors.New("no_answer: slope and offset must be finite, threshold from 0 to 1")
	}
	return nil
}

// Value returns the highest score of a list, or the highest value of Column. ok is false if no
// candidate has a value.
func (n *NoAnswer) Value(m *Matrix, scores []float64) (highest float64, ok bool) {
	if n.Column == "" {
		return slices.Max(scores), true
	}
	at := slices.IndexFunc(m.Columns, func(c Column) bool { return c.Name == n.Column })
	if at < 0 {
		return 0, false
	}
	highest = math.Inf(-1)
	for i := range m.N {
		highest = max(highest, nanAs(m.Row(i)[at], math.Inf(-1)))
	}
	return highest, !math.IsInf(highest, -1)
}

// nanAs returns x, or missing for NaN.
func nanAs(x float32, missing float64) float64 {
	if x != x {
		return missing
	}
	return float64(x)
}

// Probability returns the probability, 0 to 1, that no candidate of a scored list fits. It is 1 if
// no candidate has a value.
func (n *NoAnswer) Probability(m *Matrix, scores []float64) float64 {
	value, ok := n.Value(m, scores)
	if !ok {
		return 1
	}
	return 1 / (1 + math.Exp(n.Slope*value+n.Offset))
}

// noAnswer returns the probability that no candidate answers the search text, nil without a search
// text or if the model has no estimate.
func (r *ranking) noAnswer(req *Request) *float64 {
	if r.model == nil || r.model.NoAnswer == nil || SearchText(req.Context) == "" {
		return nil
	}
	p := r.model.NoAnswer.Probability(r.matrix, r.scores)
	return &p
}
