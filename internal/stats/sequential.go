package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// TunedUnits is the number of units at which sequential intervals are tightest. They hold at any number.
const TunedUnits = 5000

// mixtureVariance is the mixture's variance that makes the interval tightest at Tuning units for alpha
// (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and asymptotic
// confidence sequences, arXiv 2103.06476v7, eq. 161).
func mixtureVariance(alpha float64) float64 {
	l := -2 * math.Log(alpha)
	return (l + math.Log(l+1)) / TunedUnits
}

// sequentialWidth is the sequential interval's half-width in standard errors at n units.
func sequentialWidth(n, alpha float64) float64 {
	t := n * mixtureVariance(alpha)
	return math.Sqrt(2 * (t + 1) / t * math.Log(math.Sqrt(t+1)/alpha))
}

// SequentialInterval returns the two-sided interval that covers the truth at all times at once with
// probability 1 - alpha: it may be looked at every day, and the test ended whenever it excludes 0
// (asymptotic confidence sequence, Waudby-Smith et al., arXiv 2103.06476v7, eq. 9). It
// is asymptotic in the number of units: some hundred an arm are needed before it means anything.
func (d Difference) SequentialInterval(alpha float64) (low, high float64) {
	if !d.isDefined() || d.N <= 0 {
		return math.NaN(), math.NaN()
	}
	half := sequentialWidth(d.N, alpha) * d.SE
	return d.Value - half, d.Value + half
}

// SequentialPValue returns the always-valid p-value of "no difference": the smallest level (with the mixture
// of level 0.05) at which a sequential interval excludes 0, that is, the inverse of the mixture
// likelihood ratio (Robbins 1970; Johari, Pekelis, Walsh 2015; eq. 155 of the paper above).
func (d Difference) SequentialPValue() float64 {
	if !d.isDefined() || d.N <= 0 {
		return math.NaN()
	}
	z, t := d.Value/d.SE, d.N*mixtureVariance(0.05)
	return min(1, math.Sqrt(t+1)*math.Exp(-z*z*t/(2*(t+1))))
}

// UnitsToDecide returns how many units it takes until the sequential interval at level alpha excludes
// zero with the given power, if the truth is effect (in Value's unit) and variance falls as 1/N. It
// is infinite for no effect.
func (d Difference) UnitsToDecide(effect, alpha, power float64) float64 {
	if !d.isDefined() || d.N <= 0 || effect == 0 {
		return math.Inf(1)
	}
	sd, z := d.SE*math.Sqrt(d.N), distuv.UnitNormal.Quantile(power)
	// Half-width plus what chance takes away, in the effect's unit; it falls with n.
	short := func(n float64) bool { return (sequentialWidth(n, alpha)+z)*sd/math.Sqrt(n) > math.Abs(effect) }
	low, high := 2.0, 4.0
	for short(high) {
		if low, high = high, 2*high; high > 1e18 {
			return math.Inf(1)
		}
	}
	for range 50 { // halvings: more than a float64 can tell apart
		if mid := (low + high) / 2; short(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Ceil(high)
}

// UnitsPerArm returns how many units an arm needs in a test of two equal arms that is looked at once:
// 2 sd^2 (z(1-alpha/2) + z(power))^2 / effect^2 (e.g. Kohavi, Tang, Xu: Trustworthy Online Controlled
// Experiments, 2020, ch. 17).
func UnitsPerArm(sd, effect, alpha, power float64) float64 {
	z := distuv.UnitNormal.Quantile(1-alpha/2) + distuv.UnitNormal.Quantile(power)
	return math.Ceil(2 * sd * sd * z * z / (effect * effect))
}
