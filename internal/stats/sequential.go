package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// TunedUnits is the number of units at which sequential intervals are tightest. They are valid at
// any number.
const TunedUnits = 5000

// mixtureVariance returns the variance rho^2 of the mixture that makes the interval tightest at
// TunedUnits (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory
// and asymptotic confidence sequences, arXiv 2103.06476v7, equation 161).
func mixtureVariance(alpha float64) float64 {
	l := -2 * math.Log(alpha)
	return (l + math.Log(l+1)) / TunedUnits
}

// sequentialWidth returns the half-width of the sequential interval at n units, in standard errors
// (the same paper, equation 9).
func sequentialWidth(n, alpha float64) float64 {
	t := n * mixtureVariance(alpha)
	return math.Sqrt(2 * (t + 1) / t * math.Log(math.Sqrt(t+1)/alpha))
}

// SequentialInterval returns the two-sided interval that covers the truth at all times together
// with probability 1 - alpha. It may be looked at every day, and the test may end as soon as it
// excludes 0 (asymptotic confidence sequence, the same paper, equation 9).
//
// It is asymptotic in the number of units: it needs some hundred in each arm.
func (d Difference) SequentialInterval(alpha float64) (low, high float64) {
	if !d.isDefined() || d.N <= 0 {
		return math.NaN(), math.NaN()
	}
	half := sequentialWidth(d.N, alpha) * d.SE
	return d.Value - half, d.Value + half
}

// SequentialPValue returns the always-valid p-value of "no difference": the smallest level at which
// a sequential interval excludes 0, with the mixture of level 0.05. It is the inverse of the
// mixture likelihood ratio (Robbins, Statistical methods related to the law of the iterated
// logarithm, 1970; Johari, Pekelis and Walsh, Always valid inference, 2015; equation 155 of the
// paper above).
func (d Difference) SequentialPValue() float64 {
	if !d.isDefined() || d.N <= 0 {
		return math.NaN()
	}
	z, t := d.Value/d.SE, d.N*mixtureVariance(0.05)
	return min(1, math.Sqrt(t+1)*math.Exp(-z*z*t/(2*(t+1))))
}

// UnitsToDecide returns how many units it takes until the sequential interval at level alpha
// excludes zero with the given power. It assumes that the true value is effect, in the unit of
// Value, and that the variance falls as 1/N. It is infinite if effect is 0.
func (d Difference) UnitsToDecide(effect, alpha, power float64) float64 {
	if !d.isDefined() || d.N <= 0 || effect == 0 {
		return math.Inf(1)
	}
	sd, z := d.SE*math.Sqrt(d.N), distuv.UnitNormal.Quantile(power)
	// n units are too few while the half-width plus the chance deviation exceeds the effect. Both
	// fall with n.
	tooFew := func(n float64) bool {
		return (sequentialWidth(n, alpha)+z)*sd/math.Sqrt(n) > math.Abs(effect)
	}
	low, high := 2.0, 4.0
	for tooFew(high) {
		if low, high = high, 2*high; high > 1e18 {
			return math.Inf(1)
		}
	}
	for range 50 { // halvings exhaust the precision of a float64
		if mid := (low + high) / 2; tooFew(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Ceil(high)
}

// UnitsPerArm returns how many units each of two equal arms needs in a test at a single look: 2
// sd^2 (z(1-alpha/2) + z(power))^2 / effect^2 (Kohavi, Tang and Xu, Trustworthy Online Controlled
// Experiments, 2020, chapter 17).
func UnitsPerArm(sd, effect, alpha, power float64) float64 {
	z := distuv.UnitNormal.Quantile(1-alpha/2) + distuv.UnitNormal.Quantile(power)
	return math.Ceil(2 * sd * sd * z * z / (effect * effect))
}
