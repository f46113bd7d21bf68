package evaluation

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"relish/internal/stats"
)

// Bin is one point of a reliability plot: a group of candidates with similar predictions.
type Bin struct {
	Predicted float64 `json:"predicted"` // mean predicted probability
	Observed  float64 `json:"observed"`  // share that was relevant
	Low       float64 `json:"low"`       // exact 95 % interval of Observed
	High      float64 `json:"high"`
	N         int     `json:"n"` // candidates
}

// Reliability groups candidates by predicted probability into at most n bins of equal size (Nguyen
// and O'Connor, Posterior calibration and exploratory analysis for natural language processing
// models, EMNLP 2015). Bins of equal width would be nearly all empty, since most click
// probabilities are small.
//
// Equal predictions stay in one bin, so the result does not depend on the input's order, and there
// can be fewer than n bins. The intervals treat candidates as independent, which those of one list
// are not quite. A prediction outside 0 to 1 is an error: FitSigmoid turns scores into
// probabilities.
func Reliability(predicted, gains []float64, n int) ([]Bin, error) {
	if len(predicted) != len(gains) {
		return nil, fmt.Errorf("%d predictions for %d gains; the lengths must be equal",
			len(predicted), len(gains))
	}
	if n < 1 {
		return nil, fmt.Errorf("%d bins; at least 1 is needed", n)
	}
	order := make([]int, len(predicted))
	for i, p := range predicted {
		if !(p >= 0 && p <= 1) {
			return nil, fmt.Errorf("prediction %d is %g, which is not a probability; "+
				"fit a sigmoid to the scores first", i, p)
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(predicted[a], predicted[b]) })
	var bins []Bin
	start := 0
	for b := 1; b <= n && start < len(order); b++ {
		end := len(order) * b / n
		if end <= start {
			continue // an earlier bin took these candidates with its ties
		}
		for end < len(order) && predicted[order[end]] == predicted[order[end-1]] {
			end++
		}
		bins = append(bins, newBin(order[start:end], predicted, gains))
		start = end
	}
	return bins, nil
}

func newBin(members []int, predicted, gains []float64) Bin {
	b, sum, relevant := Bin{N: len(members)}, 0.0, 0.0
	for _, i := range members {
		sum += predicted[i]
		if gains[i] > 0 {
			relevant++
		}
	}
	b.Predicted, b.Observed = sum/float64(b.N), relevant/float64(b.N)
	b.Low, b.High = stats.ClopperPearson(relevant, float64(b.N), 0.05)
	return b
}

// CalibrationError returns the expected calibration error of the bins, from 0 to 1: the mean
// distance between predicted and observed, weighted by bin size (Naeini, Cooper and Hauskrecht,
// Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015). It is NaN without
// bins. Chance alone makes it positive, more so in small bins.
func CalibrationError(bins []Bin) float64 {
	n, sum := 0, 0.0
	for _, b := range bins {
		n += b.N
		sum += float64(b.N) * math.Abs(b.Predicted-b.Observed)
	}
	return sum / float64(n)
}

// Sigmoid turns a score, whose scale has no meaning, into the probability that the candidate is
// relevant: 1 / (1 + exp(-(Slope*score + Offset))).
type Sigmoid struct {
	Slope  float64 `json:"slope"`
	Offset float64 `json:"offset"`
}

// Probability returns the probability for a score.
func (s Sigmoid) Probability(score float64) float64 {
	return 1 / (1 + math.Exp(-(s.Slope*score + s.Offset)))
}

// FitSigmoid fits a sigmoid to scores with known gains by Platt scaling: Newton's method with
// smoothed targets (Platt, Probabilistic outputs for support vector machines, 1999; numerics of
// Lin, Lin and Weng, A note on Platt's probabilistic outputs, 2007).
//
// To measure calibration, fit on other lists than the measured ones. It is an error if all
// candidates are relevant or none is, and if a score is not finite.
func FitSigmoid(scores, gains []float64) (Sigmoid, error) {
	if len(scores) != len(gains) {
		return Sigmoid{}, fmt.Errorf("%d scores for %d gains; the lengths must be equal",
			len(scores), len(gains))
	}
	if err := checkFinite(scores); err != nil {
		return Sigmoid{}, err
	}
	relevant, mean, spread := 0.0, 0.0, 0.0
	for i, s := range scores {
		if gains[i] > 0 {
			relevant++
		}
		mean += s / float64(len(scores))
	}
	others := float64(len(scores)) - relevant
	if relevant == 0 || others == 0 {
		return Sigmoid{}, fmt.Errorf("%.0f of %d candidates are relevant; "+
			"a sigmoid needs some that are and some that are not", relevant, len(scores))
	}
	for _, s := range scores {
		spread += (s - mean) * (s - mean) / float64(len(scores))
	}
	spread = math.Sqrt(spread)
	if spread <= math.Abs(mean)*1e-12 { // a constant score: only the share can be fitted
		return Sigmoid{Offset: math.Log((relevant + 1) / (others + 1))}, nil
	}
	f := sigmoidFit{
		scores: scores, gains: gains, mean: mean, spread: spread,
		high: (relevant + 1) / (relevant + 2), low: 1 / (others + 2),
	}
	slope, offset := f.newton(math.Log((relevant + 1) / (others + 1)))
	return Sigmoid{Slope: slope / spread, Offset: offset - slope*mean/spread}, nil
}

// canFit reports whether some candidates are relevant and some are not.
func canFit(gains []float64) bool {
	relevant := func(g float64) bool { return g > 0 }
	other := func(g float64) bool { return g <= 0 }
	return slices.ContainsFunc(gains, relevant) && slices.ContainsFunc(gains, other)
}

// sigmoidFit is one fit. It standardises the scores, so that Newton's steps are well conditioned.
type sigmoidFit struct {
	scores, gains []float64
	mean, spread  float64 // of the scores
	high, low     float64 // Platt's targets of the relevant candidates and of the others
}

// each calls visit with every standardised score and its target.
func (f *sigmoidFit) each(visit func(x, target float64)) {
	for i, s := range f.scores {
		target := f.low
		if f.gains[i] > 0 {
			target = f.high
		}
		visit((s-f.mean)/f.spread, target)
	}
}

// loss returns the cross-entropy in a form that neither overflows nor underflows.
func (f *sigmoidFit) loss(slope, offset float64) float64 {
	sum := 0.0
	f.each(func(x, target float64) {
		z := slope*x + offset
		sum += math.Max(z, 0) - target*z + math.Log1p(math.Exp(-math.Abs(z)))
	})
	return sum
}

// newton minimises the loss from slope 0 and the given offset. It halves a step until the loss
// falls.
func (f *sigmoidFit) newton(offset float64) (slope, _ float64) {
	loss := f.loss(0, offset)
	for range 100 {
		ga, gb, haa, hab, hbb := 0.0, 0.0, 1e-12, 0.0, 1e-12 // gradient and Hessian
		f.each(func(x, target float64) {
			p := Sigmoid{slope, offset}.Probability(x)
			ga, gb = ga+(p-target)*x, gb+p-target
			w := p * (1 - p)
			haa, hab, hbb = haa+w*x*x, hab+w*x, hbb+w
		})
		if math.Abs(ga) < 1e-9 && math.Abs(gb) < 1e-9 {
			break
		}
		det := haa*hbb - hab*hab
		da, db := -(hbb*ga-hab*gb)/det, -(haa*gb-hab*ga)/det
		step := 1.0
		for ; step > 1e-10; step /= 2 {
			if next := f.loss(slope+step*da, offset+step*db); next < loss {
				slope, offset, loss = slope+step*da, offset+step*db, next
				break
			}
		}
		if step <= 1e-10 {
			break
		}
	}
	return slope, offset
}
