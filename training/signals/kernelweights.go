package signals

import (
	"math"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

const (
	weightCases    = 800 // lists that choose the weights at most
	minWeightCases = 50  // fewer lists leave the weights as they start
	weightRounds   = 6   // times that each weight is tried at most
	// testShare: one user in testShare chooses the weights. The others fit the learned vectors that
	// are weighed, because vectors look better on the lists that they were fitted to.
	testShare = 3
	// servedResiduals is the number of shown items that a server keeps for a user, see
	// features.Config.Shown.
	servedResiduals = 100
)

// startWeights are the weights before they are fitted, for a catalogue with the given numbers of
// fields.
func startWeights(fields, numbers int) served.KernelWeights {
	return served.KernelWeights{
		Field: 1.6 / float64(max(1, fields)), Text: 0.3,
		Number: 0.12 / float64(max(1, numbers)), Learned: 1, Scale: 1.4,
	}
}

// weightCase is a list of a user and the residuals that are known before it.
type weightCase struct{ history, list []served.Residual }

// fitKernelWeights returns the weights with which users' earlier lists predict their last two lists
// best. It changes one weight at a time by a factor, for as long as that helps.
func fitKernelWeights(
	gp *served.ResidualGP, users []userLists, seed uint64,
) (served.KernelWeights, error) {
	best := gp.Kernel.Weights
	var others []userLists
	var cases []weightCase
	for u, lists := range users {
		if u%testShare != 0 || len(cases) >= weightCases {
			others = append(others, lists)
			continue
		}
		for skipped := 1; skipped <= 2 && skipped < len(lists); skipped++ {
			cases = append(cases, weightCase{
				lists.residuals(skipped, servedResiduals), lists[len(lists)-skipped],
			})
		}
	}
	if len(cases) < minWeightCases {
		return best, nil
	}
	if err := fitLearnedVectors(gp.Kernel, others, seed); err != nil {
		return best, err
	}
	likelihood := logLikelihood(gp, best, cases)
	for round, factor := 0, 2.0; round < weightRounds; round++ {
		improved := false
		for part := range best.All() {
			for _, f := range []float64{factor, 1 / factor} {
				tried := best
				*tried.All()[part] *= f
				if l := logLikelihood(gp, tried, cases); l > likelihood {
					best, likelihood, improved = tried, l, true
					break
				}
			}
		}
		if !improved {
			if factor < 2 {
				break
			}
			factor = math.Sqrt2
		}
	}
	return best, nil
}

// logLikelihood returns the log-likelihood of the cases' clicks, given how many there are in each
// list.
func logLikelihood(
	gp *served.ResidualGP, weights served.KernelWeights, cases []weightCase,
) (sum float64) {
	kernel := gp.Kernel.WithWeights(weights)
	parts := make([]float64, len(cases))
	parallel.Rows(len(cases), 1, func(from, to int) {
		user := kernel.NewPosterior()
		var logOdds []float32
		var list []served.Residual
		for i := from; i < to; i++ {
			c := &cases[i]
			user.Set(c.history)
			logOdds, list = logOdds[:0], list[:0]
			clicks := 0
			for k, r := range c.list {
				content, learned := user.Mean(r.Item)
				logOdds = append(logOdds, gp.LogOdds[r.Item]+content+learned)
				list = append(list, served.Residual{Item: int32(k)})
				if r.Value > 0 {
					list[k].Value = 1
					clicks++
				}
			}
			served.ListResiduals(logOdds, list, clicks)
			for _, r := range list { // what the probability lacks of certainty
				parts[i] += math.Log(max(1e-6, 1-math.Abs(float64(r.Value))))
			}
		}
	})
	for _, x := range parts { // in a fixed order, so that rounding is repeatable
		sum += x
	}
	return sum
}
