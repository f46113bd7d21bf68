package stats

import "math"

// The variables of Moments, in order: a ratio metric's numerator and denominator, and the same from
// before the unit's first exposure. A plain mean has denominators of 1.
const (
	Numerator = iota
	Denominator
	PreNumerator
	PreDenominator
	variableCount
)

// Moments holds the count, means and co-moments of the four variables over units (users). It is
// computed in one pass and without cancellation (Welford, Note on a method for calculating
// corrected sums of squares, 1962; Merge: Chan, Golub and LeVeque, Algorithms for computing the
// sample variance, 1983).
//
// Every comparison follows from it, so no unit's values are kept. The zero value is empty.
type Moments struct {
	N         float64
	Mean      [variableCount]float64
	coMoments [variableCount][variableCount]float64 // sums of products, upper triangle
}

// Add counts one unit.
func (m *Moments) Add(x [variableCount]float64) {
	m.N++
	var before [variableCount]float64
	for i := range x {
		before[i] = x[i] - m.Mean[i]
		m.Mean[i] += before[i] / m.N
	}
	for i := range x {
		for j := i; j < variableCount; j++ {
			m.coMoments[i][j] += before[i] * (x[j] - m.Mean[j])
		}
	}
}

// Covariance returns the sample covariance of two variables (divided by n - 1), NaN for fewer than
// two units.
func (m *Moments) Covariance(i, j int) float64 {
	if m.N < 2 {
		return math.NaN()
	}
	return m.coMoments[min(i, j)][max(i, j)] / (m.N - 1)
}

// Estimate is a value with its standard error.
type Estimate struct {
	Value float64 `json:"value"`
	SE    float64 `json:"se"`
	N     float64 `json:"n"` // units
}

// Ratio returns mean(Numerator) / mean(Denominator) with the standard error of the delta method,
// which takes units and not impressions as the independent observations (Deng, Knoblich and Lu,
// Applying the delta method in metric analytics, KDD 2018, equation 4). It is NaN without a
// denominator or with fewer than two units.
func (m *Moments) Ratio() Estimate {
	r := m.Mean[Numerator] / m.Mean[Denominator]
	l := linearCombination{
		Numerator:   1 / m.Mean[Denominator],
		Denominator: -r / m.Mean[Denominator],
	}
	return Estimate{Value: r, SE: math.Sqrt(m.covarianceOf(l, l) / m.N), N: m.N}
}

// linearCombination is a linear combination of the variables, by coefficient.
type linearCombination [variableCount]float64

// covarianceOf returns the covariance of two combinations. A variance is never negative.
func (m *Moments) covarianceOf(a, b linearCombination) float64 {
	sum := 0.0
	for i := range a {
		for j := range b {
			if a[i] != 0 && b[j] != 0 {
				sum += a[i] * b[j] * m.Covariance(i, j)
			}
		}
	}
	if a == b {
		return max(0, sum)
	}
	return sum
}

// CUPED returns each arm's ratio without the part that the units' earlier behaviour explains (Deng,
// Xu, Kohavi and Walker, Improving the sensitivity of online controlled experiments, WSDM 2013,
// equations 4 and 5). theta is the slope of the metric on that behaviour, pooled within the arms.
//
// Ratios are linearised around each arm's own ratio (Budylin, Drutsa, Katsev and Tsoy, Consistent
// transformation of ratio metrics, WSDM 2018), as in the delta method. If nothing is known of any
// unit from before, theta is 0 and the result is the plain ratio.
func CUPED(arms []*Moments) (theta float64, out []Estimate) {
	type arm struct{ now, pre linearCombination }
	lines := make([]arm, len(arms))
	var covariance, variance, preNum, preDen float64
	for k, m := range arms {
		r, p := m.Mean[Numerator]/m.Mean[Denominator], m.Mean[PreNumerator]/m.Mean[PreDenominator]
		lines[k].now = linearCombination{
			Numerator:   1 / m.Mean[Denominator],
			Denominator: -r / m.Mean[Denominator],
		}
		if m.Mean[PreDenominator] > 0 {
			lines[k].pre = linearCombination{
				PreNumerator:   1 / m.Mean[PreDenominator],
				PreDenominator: -p / m.Mean[PreDenominator],
			}
		}
		preNum, preDen = preNum+m.N*m.Mean[PreNumerator], preDen+m.N*m.Mean[PreDenominator]
		if m.N < 2 || m.Mean[Denominator] == 0 {
			continue
		}
		covariance += (m.N - 1) * m.covarianceOf(lines[k].now, lines[k].pre)
		variance += (m.N - 1) * m.covarianceOf(lines[k].pre, lines[k].pre)
	}
	if variance > 0 {
		theta = covariance / variance
	}
	for k, m := range arms {
		e := m.Ratio()
		if theta != 0 && m.Mean[PreDenominator] > 0 {
			e.Value -= theta * (m.Mean[PreNumerator]/m.Mean[PreDenominator] - preNum/preDen)
			rest := lines[k].now
			for i, x := range lines[k].pre {
				rest[i] -= theta * x
			}
			e.SE = math.Sqrt(m.covarianceOf(rest, rest) / m.N)
		}
		out = append(out, e)
	}
	return theta, out
}
