package evaluation

import (
	"fmt"
	"math"
)

// Sigmoid turns a ranker's score, whose scale means nothing, into the probability that the candidate is
// relevant: 1 / (1 + exp(-(Slope*score + Offset))).
type Sigmoid struct {
	Slope  float64 `json:"slope"`
	Offset float64 `json:"offset"`
}

// Probability returns the probability for a score.
func (s Sigmoid) Probability(score float64) float64 {
	return 1 / (1 + math.Exp(-(s.Slope*score + s.Offset)))
}

// FitSigmoid fits a sigmoid to scores whose labels are known (positive gain: relevant), by Newton's
// method with Platt's smoothed targets (Platt 1999; the numerics of Lin, Lin and Weng, A note on
// Platt's probabilistic outputs for support vector machines, 2007). To say anything of calibration it
// must be fitted on other lists than those measured. Labels of one kind only are an error.
func FitSigmoid(scores, gains []float64) (Sigmoid, error) {
	if len(scores) != len(gains) {
		return Sigmoid{}, fmt.Errorf("%d scores for %d gains", len(scores), len(gains))
	}
	relevant, mean, spread := 0.0, 0.0, 0.0
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return Sigmoid{}, fmt.Errorf("score of candidate %d is not finite", i)
		}
		if gains[i] > 0 {
			relevant++
		}
		mean += s / float64(len(scores))
	}
	others := float64(len(scores)) - relevant
	if relevant == 0 || others == 0 {
		return Sigmoid{}, fmt.Errorf("%.0f of %d candidates are relevant: a sigmoid needs some that are and some that are not", relevant, len(scores))
	}
	for _, s := range scores {
		spread += (s - mean) * (s - mean) / float64(len(scores))
	}
	spread = math.Sqrt(spread)
	if spread <= math.Abs(mean)*1e-12 { // a constant score: the share is all there is to say
		return Sigmoid{Offset: math.Log((relevant + 1) / (others + 1))}, nil
	}
	f := sigmoidFit{scores, gains, mean, spread, (relevant + 1) / (relevant + 2), 1 / (others + 2)}
	slope, offset := f.newton(math.Log((relevant + 1) / (others + 1)))
	return Sigmoid{Slope: slope / spread, Offset: offset - slope*mean/spread}, nil
}

// sigmoidFit holds one fit; scores are standardised, so that Newton's steps are well conditioned.
type sigmoidFit struct {
	scores, gains []float64
	mean, spread  float64
	high, low     float64 // targets of the relevant and the others
}

// each hands every standardised score with its target to visit.
func (f *sigmoidFit) each(visit func(x, target float64)) {
	for i, s := range f.scores {
		target := f.low
		if f.gains[i] > 0 {
			target = f.high
		}
		visit((s-f.mean)/f.spread, target)
	}
}

// loss is the cross-entropy, in the form that neither over- nor underflows.
func (f *sigmoidFit) loss(a, b float64) float64 {
	sum := 0.0
	f.each(func(x, t float64) {
		z := a*x + b
		sum += math.Max(z, 0) - t*z + math.Log1p(math.Exp(-math.Abs(z)))
	})
	return sum
}

func (f *sigmoidFit) newton(b float64) (slope, offset float64) {
	a, loss := 0.0, f.loss(0, b)
	for range 100 {
		ga, gb, haa, hab, hbb := 0.0, 0.0, 1e-12, 0.0, 1e-12
		f.each(func(x, t float64) {
			p := Sigmoid{a, b}.Probability(x)
			ga, gb = ga+(p-t)*x, gb+p-t
			w := p * (1 - p)
			haa, hab, hbb = haa+w*x*x, hab+w*x, hbb+w
		})
		if math.Abs(ga) < 1e-9 && math.Abs(gb) < 1e-9 {
			break
		}
		det := haa*hbb - hab*hab
		da, db := -(hbb*ga-hab*gb)/det, -(haa*gb-hab*ga)/det
		step := 1.0
		for ; step > 1e-10; step /= 2 { // halve until it is downhill
			if next := f.loss(a+step*da, b+step*db); next < loss {
				a, b, loss = a+step*da, b+step*db, next
				break
			}
		}
		if step <= 1e-10 {
			break
		}
	}
	return a, b
}
