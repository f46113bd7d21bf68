package stats

import "math"

// The variables of Moments, in order: a ratio metric's numerator and denominator, and the same two
// from before the unit's first exposure. A plain mean has denominators of 1.
const (
	Numerator = iota
	Denominator
	PreNumerator
	PreDenominator
	variableCount
)

// Moments holds count, means and co-moments of the four variables over units (users), in one pass and
// without cancellation (Welford 1962; Chan, Golub, LeVeque 1983 for Merge). Everything a comparison
// needs follows from it, so that no unit's values are kept. The zero value is empty.
type Moments struct {
	N         float64
	Mean      [variableCount]float64
	coMoments [variableCount][variableCount]float64 // sums of products of deviations, upper triangle
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

// Merge counts all units of o, which must be others.
func (m *Moments) Merge(o *Moments) {
	if o.N == 0 {
		return
	}
	n := m.N + o.N
	var delta [variableCount]float64
	for i := range delta {
		delta[i] = o.Mean[i] - m.Mean[i]
	}
	for i := range delta {
		for j := i; j < variableCount; j++ {
			m.coMoments[i][j] += o.coMoments[i][j] + delta[i]*delta[j]*m.N*o.N/n
		}
		m.Mean[i] += delta[i] * o.N / n
	}
	m.N = n
}

// Covariance returns the sample covariance (n - 1 below) of two variables, NaN for fewer than two units.
func (m *Moments) Covariance(i, j int) float64 {
	if m.N < 2 {
		return math.NaN()
	}
	return m.coMoments[min(i, j)][max(i, j)] / (m.N - 1)
}

// Estimate is a value with its standard error, from N units.
type Estimate struct {
	Value float64 `json:"value"`
	SE    float64 `json:"se"`
	N     float64 `json:"n"`
}

// Ratio returns mean(Num)/mean(Den) with the standard error of the delta method, which takes the unit
// and not the impression as what was drawn (Deng, Knoblich, Lu: Applying the Delta Method in Metric
// Analytics, KDD 2018, eq. 4). NaN without a denominator or with fewer than two units.
func (m *Moments) Ratio() Estimate {
	r := m.Mean[Numerator] / m.Mean[Denominator]
	l := linearCombination{Numerator: 1 / m.Mean[Denominator], Denominator: -r / m.Mean[Denominator]}
	return Estimate{Value: r, SE: math.Sqrt(m.covarianceOf(l, l) / m.N), N: m.N}
}

// linearCombination is a linear combination of the variables.
type linearCombination [variableCount]float64

// covarianceOf is the covariance of two combinations, never negative for a variance.
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

// CUPED returns each arm's ratio with the part taken out that the units' earlier behaviour foretells
// (CUPED: Deng, Xu, Kohavi, Walker, WSDM 2013, eq. 4 and 5), and theta, the slope of the metric on
// that behaviour, pooled within the arms. Ratios are linearised around their arm's own
// (Budylin, Drutsa, Katsev, Tsoy, WSDM 2018), as in the delta method. Where nothing was known of any
// unit before, theta is 0 and the ratios are the plain ones.
func CUPED(arms []*Moments) (theta float64, out []Estimate) {
	type arm struct{ now, pre linearCombination }
	lines := make([]arm, len(arms))
	var covariance, variance, preNum, preDen float64
	for k, m := range arms {
		r, p := m.Mean[Numerator]/m.Mean[Denominator], m.Mean[PreNumerator]/m.Mean[PreDenominator]
		lines[k].now = linearCombination{Numerator: 1 / m.Mean[Denominator], Denominator: -r / m.Mean[Denominator]}
		if m.Mean[PreDenominator] > 0 {
			lines[k].pre = linearCombination{PreNumerator: 1 / m.Mean[PreDenominator], PreDenominator: -p / m.Mean[PreDenominator]}
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
