package stats_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"

	"relish/internal/stats"
)

// reference holds the results of scipy, statsmodels and GrowthBook's statistics for the same users.
// testdata/reference.py computes it and says how to run it.
type reference struct {
	A, B       [][4]float64
	CovA       [4][4]float64 `json:"cov_a"`
	GrowthBook struct {
		Absolute   [6]float64 // value, SE, degrees of freedom, low, high, p
		Relative   [4]float64 // value, SE, low, high
		Sequential [3]float64 // low, high, p
	}
	ClusteredA     [2]float64 `json:"clustered_a"` // value, SE
	ANCOVA         struct{ Theta, Difference float64 }
	NonInferiority float64
	Best           struct{ Means, SEs, P []float64 }
	SRM            struct {
		Counts, Weights []float64
		Chi2P           [2]float64 `json:"chi2_p"`
	}
	Sign struct {
		Wins, N, P float64
		LowHigh    [2]float64 `json:"low_high"`
	}
	Slope struct {
		T, V, SE []float64
		SlopeSEP [3]float64 `json:"slope_se_p"`
	}
	P, Holm, BH []float64
	UnitsPerArm float64 `json:"units_per_arm"`
}

func load(t *testing.T) reference {
	t.Helper()
	data, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Max(1, math.Abs(want))) {
		t.Errorf("%s: got %.12g, want %.12g", what, got, want)
	}
}

func moments(units [][4]float64) *stats.Moments {
	m := &stats.Moments{}
	for _, u := range units {
		m.Add(u)
	}
	return m
}

func TestMomentsAgainstNumpy(t *testing.T) {
	r := load(t)
	m := moments(r.A)
	for i := range 4 {
		for j := range 4 {
			near(t, "covariance", m.Covariance(i, j), r.CovA[i][j], 1e-12)
		}
	}
}

func TestRatioAgainstStatsmodels(t *testing.T) {
	r := load(t)
	e := moments(r.A).Ratio()
	near(t, "ratio", e.Value, r.ClusteredA[0], 1e-12)
	near(t, "standard error", e.SE, r.ClusteredA[1], 1e-9)
}

func TestDifferencesAgainstGrowthBook(t *testing.T) {
	r := load(t)
	a, b := moments(r.A).Ratio(), moments(r.B).Ratio()
	abs, rel := stats.AbsoluteDifference(a, b), stats.RelativeDifference(a, b)
	low, high := abs.Interval(0.05)
	for i, got := range []float64{abs.Value, abs.SE, abs.DF, low, high, abs.PValue()} {
		near(t, "absolute", got, r.GrowthBook.Absolute[i], 1e-9)
	}
	near(t, "relative", rel.Value, r.GrowthBook.Relative[0], 1e-12)
	near(t, "relative", rel.SE, r.GrowthBook.Relative[1], 1e-9)
	low, high = abs.SequentialInterval(0.05)
	for i, got := range []float64{low, high, abs.SequentialPValue()} {
		near(t, "sequential", got, r.GrowthBook.Sequential[i], 1e-9)
	}
}

// plainMeans sets the denominators to 1, so that the metric is clicks per user.
func plainMeans(units [][4]float64) *stats.Moments {
	m := &stats.Moments{}
	for _, u := range units {
		m.Add([4]float64{u[stats.Numerator], 1, u[stats.PreNumerator], 1})
	}
	return m
}

func TestCUPEDAgainstANCOVA(t *testing.T) {
	r := load(t)
	theta, arms := stats.CUPED([]*stats.Moments{plainMeans(r.A), plainMeans(r.B)})
	near(t, "theta", theta, r.ANCOVA.Theta, 1e-9)
	near(t, "difference", arms[1].Value-arms[0].Value, r.ANCOVA.Difference, 1e-9)
}

// CUPED of a ratio reduces the standard error, and changes nothing without earlier behaviour.
func TestCUPEDOfRatios(t *testing.T) {
	r := load(t)
	a, b := moments(r.A), moments(r.B)
	theta, arms := stats.CUPED([]*stats.Moments{a, b})
	if theta <= 0 || arms[0].SE >= a.Ratio().SE || arms[1].SE >= b.Ratio().SE {
		t.Errorf("theta %g, standard errors %g and %g, plain %g and %g",
			theta, arms[0].SE, arms[1].SE, a.Ratio().SE, b.Ratio().SE)
	}
	newUsers := moments([][4]float64{{1, 2, 0, 0}, {2, 2, 0, 0}, {0, 3, 0, 0}})
	theta, arms = stats.CUPED([]*stats.Moments{newUsers, newUsers})
	if theta != 0 || arms[0] != newUsers.Ratio() {
		t.Errorf("theta %g, %+v; want the plain ratio", theta, arms[0])
	}
}

func TestNonInferiorityAgainstStatsmodels(t *testing.T) {
	r := load(t)
	d := stats.AbsoluteDifference(plainMeans(r.A).Ratio(), plainMeans(r.B).Ratio())
	near(t, "p", d.NonInferiorityPValue(0.5), r.NonInferiority, 1e-9)
}

func TestProbabilityBestAgainstScipy(t *testing.T) {
	r := load(t)
	arms := make([]stats.Estimate, len(r.Best.Means))
	for i := range arms {
		arms[i] = stats.Estimate{Value: r.Best.Means[i], SE: r.Best.SEs[i]}
	}
	sum := 0.0
	for i, p := range stats.ProbabilityBest(arms) {
		near(t, "probability", p, r.Best.P[i], 1e-8)
		sum += p
	}
	near(t, "sum", sum, 1, 1e-8)
	p := stats.ProbabilityBest([]stats.Estimate{{Value: 1, SE: 1}, {Value: 1}})
	if !math.IsNaN(p[0]) {
		t.Errorf("an arm without a standard error: %v", p)
	}
}

func TestHypothesesAgainstScipyAndStatsmodels(t *testing.T) {
	r := load(t)
	chi2, p := stats.SampleRatioMismatch(r.SRM.Counts, r.SRM.Weights)
	near(t, "chi-squared", chi2, r.SRM.Chi2P[0], 1e-12)
	near(t, "SRM p", p, r.SRM.Chi2P[1], 1e-9)
	near(t, "sign p", stats.SignTest(r.Sign.Wins, r.Sign.N), r.Sign.P, 1e-9)
	near(t, "sign p", stats.SignTest(r.Sign.N-r.Sign.Wins, r.Sign.N), r.Sign.P, 1e-9)
	low, high := stats.ClopperPearson(r.Sign.Wins, r.Sign.N, 0.05)
	near(t, "share low", low, r.Sign.LowHigh[0], 1e-9)
	near(t, "share high", high, r.Sign.LowHigh[1], 1e-9)
	holm, bh := stats.Holm(r.P), stats.BenjaminiHochberg(r.P)
	for i := range r.P {
		near(t, "Holm", holm[i], r.Holm[i], 1e-12)
		near(t, "Benjamini-Hochberg", bh[i], r.BH[i], 1e-12)
	}
	near(t, "units an arm", stats.UnitsPerArm(1.7, 0.1, 0.05, 0.8), math.Ceil(r.UnitsPerArm), 1e-9)
}

func TestSlopeAgainstStatsmodels(t *testing.T) {
	r := load(t)
	values := make([]stats.Difference, len(r.Slope.V))
	for i := range values {
		values[i] = stats.Difference{Value: r.Slope.V[i], SE: r.Slope.SE[i], DF: math.Inf(1)}
	}
	d := stats.WeightedSlope(r.Slope.T, values)
	for i, got := range []float64{d.Value, d.SE, d.PValue()} {
		near(t, "slope", got, r.Slope.SlopeSEP[i], 1e-9)
	}
	if d := stats.WeightedSlope(r.Slope.T[:2], values[:2]); !math.IsNaN(d.Value) {
		t.Errorf("two values must have no slope: %+v", d)
	}
}

func TestEdges(t *testing.T) {
	nan := stats.AbsoluteDifference(stats.Estimate{}, stats.Estimate{})
	for name, got := range map[string]float64{
		"p":               nan.PValue(),
		"sequential p":    nan.SequentialPValue(),
		"non-inferiority": nan.NonInferiorityPValue(1),
		"one group":       stats.Jackknife([]float64{1}),
	} {
		if !math.IsNaN(got) {
			t.Errorf("%s without data is %g, want NaN", name, got)
		}
	}
	if low, high := nan.Interval(0.05); !math.IsNaN(low) || !math.IsNaN(high) {
		t.Error("an interval without data must be NaN")
	}
	if !math.IsInf(stats.Difference{Value: 1, SE: 1, DF: 9, N: 9}.UnitsToDecide(0, 0.05, 0.8), 1) {
		t.Error("without an effect, UnitsToDecide must be infinite")
	}
	if low, high := stats.ClopperPearson(0, 10, 0.05); low != 0 || high > 0.31 || high < 0.30 {
		t.Errorf("none of ten: [%g, %g], want [0, 0.308]", low, high)
	}
	if p := stats.Holm([]float64{math.NaN(), 0.04}); !math.IsNaN(p[0]) || p[1] != 0.04 {
		t.Errorf("NaN must not count as a test: %v", p)
	}
}

// The sequential interval agrees with its p-value, and is wider than the interval of a single look.
func TestSequentialAgreesWithItsP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := stats.Difference{
			Value: rapid.Float64Range(-1, 1).Draw(t, "value"),
			SE:    rapid.Float64Range(0.01, 1).Draw(t, "SE"),
			N:     rapid.Float64Range(10, 1e7).Draw(t, "n"),
			DF:    math.Inf(1),
		}
		low, high := d.SequentialInterval(0.05)
		if out := low > 0 || high < 0; out != (d.SequentialPValue() < 0.05) {
			t.Fatalf("[%g, %g] with p %g", low, high, d.SequentialPValue())
		}
		if l, h := d.Interval(0.05); low > l || high < h {
			t.Fatalf("sequential [%g, %g] within [%g, %g]", low, high, l, h)
		}
		if n := d.UnitsToDecide(d.Value, 0.05, 0.5); d.Value != 0 &&
			(d.SequentialPValue() < 0.05) != (n <= d.N) &&
			math.Abs(n-d.N) > 1 {
			t.Fatalf("p %g at %g units, decided at %g", d.SequentialPValue(), d.N, n)
		}
	})
}

// With groups of one unit, the jackknife of a mean is the textbook standard error.
func TestJackknifeOfMean(t *testing.T) {
	xs := []float64{3, 1, 4, 1, 5, 9, 2, 6}
	sum, n := 0.0, float64(len(xs))
	for _, x := range xs {
		sum += x
	}
	without := make([]float64, len(xs))
	squares := 0.0
	for i, x := range xs {
		without[i] = (sum - x) / (n - 1)
		squares += (x - sum/n) * (x - sum/n)
	}
	near(t, "standard error", stats.Jackknife(without), math.Sqrt(squares/(n-1)/n), 1e-12)
}
