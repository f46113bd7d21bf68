package stats

import (
	"math"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/stat/distuv"
)

// Difference is an estimated difference between two arms, or of one quantity from zero.
type Difference struct {
	Value float64
	SE    float64
	DF    float64 // degrees of freedom of SE; infinite if SE is exact
	N     float64 // units that it is based on, for sequential intervals
}

// AbsoluteDifference returns b - a, with Welch's degrees of freedom (Welch, The generalization of
// Student's problem, Biometrika 1947).
func AbsoluteDifference(a, b Estimate) Difference {
	va, vb := a.SE*a.SE, b.SE*b.SE
	df := (va + vb) * (va + vb) / (va*va/(a.N-1) + vb*vb/(b.N-1))
	return Difference{Value: b.Value - a.Value, SE: math.Sqrt(va + vb), DF: df, N: a.N + b.N}
}

// RelativeDifference returns the lift b/a - 1. Its variance is by the delta method (Deng, Knoblich
// and Lu, Applying the delta method in metric analytics, KDD 2018, section 3.1). It is NaN if a is
// 0, and reliable if a is several standard errors away from 0.
func RelativeDifference(a, b Estimate) Difference {
	d := AbsoluteDifference(a, b)
	d.Value /= a.Value
	d.SE = math.Sqrt(b.SE*b.SE/(a.Value*a.Value) + a.SE*a.SE*b.Value*b.Value/math.Pow(a.Value, 4))
	return d
}

// distribution is the distribution of (estimate - truth) / SE.
func (d Difference) distribution() interface {
	Quantile(p float64) float64
	Survival(x float64) float64
} {
	if math.IsInf(d.DF, 1) {
		return distuv.UnitNormal
	}
	return distuv.StudentsT{Sigma: 1, Nu: d.DF}
}

// isDefined reports whether the difference can be tested.
func (d Difference) isDefined() bool { return !math.IsNaN(d.Value) && d.SE > 0 && d.DF > 0 }

// Interval returns the two-sided confidence interval at level 1 - alpha for a single look:
// Student's t with DF degrees of freedom.
func (d Difference) Interval(alpha float64) (low, high float64) {
	if !d.isDefined() {
		return math.NaN(), math.NaN()
	}
	half := d.distribution().Quantile(1-alpha/2) * d.SE
	return d.Value - half, d.Value + half
}

// PValue returns the two-sided p-value of "no difference" for a single look, NaN if it is
// undefined.
func (d Difference) PValue() float64 {
	if !d.isDefined() {
		return math.NaN()
	}
	p := 2 * d.distribution().Survival(math.Abs(d.Value)/d.SE)
	return max(p, math.SmallestNonzeroFloat64) // no finite sample gives 0
}

// NonInferiorityPValue returns the one-sided p-value of "worse than zero by margin or more"; small
// means not inferior (the lower test of Schuirmann, A comparison of the two one-sided tests
// procedure, 1987). margin is positive and in the unit of Value.
func (d Difference) NonInferiorityPValue(margin float64) float64 {
	if !d.isDefined() {
		return math.NaN()
	}
	return d.distribution().Survival((d.Value + margin) / d.SE)
}

// ProbabilityBest returns for each arm the probability that its true value is the largest, under
// independent normal posteriors with flat priors.
//
// That is the integral over x of the arm's density at x times the other arms' probabilities to be
// below x. Gauss-Legendre quadrature computes it without random numbers. An arm without a standard
// error makes all of them NaN.
func ProbabilityBest(arms []Estimate) []float64 {
	out := make([]float64, len(arms))
	for k, a := range arms {
		if !(a.SE > 0) {
			for i := range out {
				out[i] = math.NaN()
			}
			return out
		}
		own := distuv.Normal{Mu: a.Value, Sigma: a.SE}
		density := func(x float64) float64 {
			p := own.Prob(x)
			for j, b := range arms {
				if j != k {
					p *= distuv.UnitNormal.CDF((x - b.Value) / b.SE)
				}
			}
			return p
		}
		// Less than 1e-18 is outside nine standard errors. The range is divided, because an arm
		// with a much smaller error makes a step somewhere inside.
		const pieces = 64
		for i := range pieces {
			from := a.Value + a.SE*(-9+18*float64(i)/pieces)
			out[k] += quad.Fixed(density, from, from+18*a.SE/pieces, 8, quad.Legendre{}, 0)
		}
		out[k] = min(out[k], 1) // the sum of the pieces is rounded
	}
	return out
}

// WeightedSlope returns the slope of values over t by weighted least squares with weights 1/SE^2
// (Aitken, On least squares and linear combination of observations, 1936). Values without a
// standard error are skipped. It is NaN for fewer than three values.
func WeightedSlope(t []float64, values []Difference) Difference {
	var n, w, wt, wv float64
	for i, v := range values {
		if v.isDefined() {
			k := 1 / (v.SE * v.SE)
			n, w, wt, wv = n+1, w+k, wt+k*t[i], wv+k*v.Value
		}
	}
	if n < 3 {
		return Difference{Value: math.NaN(), SE: math.NaN()}
	}
	var stt, stv float64
	for i, v := range values {
		if v.isDefined() {
			k, dt := 1/(v.SE*v.SE), t[i]-wt/w
			stt, stv = stt+k*dt*dt, stv+k*dt*(v.Value-wv/w)
		}
	}
	return Difference{Value: stv / stt, SE: 1 / math.Sqrt(stt), DF: math.Inf(1), N: n}
}
