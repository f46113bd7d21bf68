package stats

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// SampleRatioMismatch tests whether counts (at least two) came about with the given weights (positive, any scale):
// Pearson's chi-squared and its p-value. A sample ratio mismatch voids an experiment (Fabijan et al.:
// Diagnosing Sample Ratio Mismatch, KDD 2019).
func SampleRatioMismatch(counts, weights []float64) (chi2, p float64) {
	var n, w float64
	for i := range counts {
		n, w = n+counts[i], w+weights[i]
	}
	if n == 0 || len(counts) < 2 {
		return 0, 1
	}
	for i := range counts {
		expected := n * weights[i] / w
		chi2 += (counts[i] - expected) * (counts[i] - expected) / expected
	}
	return chi2, distuv.ChiSquared{K: float64(len(counts) - 1)}.Survival(chi2)
}

// SignTest returns the exact two-sided p-value of the sign test: wins out of n fair coin flips. The tails
// are equal, so twice the smaller one is the sum over what is no likelier.
func SignTest(wins, n float64) float64 {
	if n == 0 {
		return 1
	}
	return min(1, 2*distuv.Binomial{N: n, P: 0.5}.CDF(min(wins, n-wins)))
}

// ClopperPearson returns a share's exact confidence interval (Clopper and Pearson 1934).
func ClopperPearson(wins, n, alpha float64) (low, high float64) {
	low, high = 0, 1
	if wins > 0 {
		low = distuv.Beta{Alpha: wins, Beta: n - wins + 1}.Quantile(alpha / 2)
	}
	if wins < n {
		high = distuv.Beta{Alpha: wins + 1, Beta: n - wins}.Quantile(1 - alpha/2)
	}
	return low, high
}

// Holm returns p-values adjusted so that taking all below alpha keeps the chance of any false one below
// alpha (Holm 1979). NaN stays NaN and counts as no test.
func Holm(p []float64) []float64 {
	return adjustPValues(p, func(order []int, out []float64) {
		running := 0.0
		for rank, i := range order {
			running = max(running, float64(len(order)-rank)*p[i])
			out[i] = min(1, running)
		}
	})
}

// BenjaminiHochberg returns p-values adjusted so that among those taken below alpha the expected share of
// false ones stays below alpha (Benjamini and Hochberg 1995). NaN stays NaN and counts as no test.
func BenjaminiHochberg(p []float64) []float64 {
	return adjustPValues(p, func(order []int, out []float64) {
		running := 1.0
		for rank := len(order) - 1; rank >= 0; rank-- {
			i := order[rank]
			running = min(running, p[i]*float64(len(order))/float64(rank+1))
			out[i] = running
		}
	})
}

// adjustPValues hands step the indices of the p-values, smallest first, and where to write.
func adjustPValues(p []float64, step func(order []int, out []float64)) []float64 {
	out := slices.Clone(p)
	var order []int
	for i := range p {
		if !math.IsNaN(p[i]) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	step(order, out)
	return out
}

// Jackknife returns the standard error of a statistic from its values with one group of units left out at a
// time, where units fell into groups by chance (delete-a-group jackknife: Kott 2001). It serves for
// what is no mean, such as a quantile, which it fits as the groups are large. NaN for fewer than two.
func Jackknife(without []float64) float64 {
	g := float64(len(without))
	if g < 2 {
		return math.NaN()
	}
	mean, sum := Mean(without), 0.0
	for _, x := range without {
		sum += (x - mean) * (x - mean)
	}
	return math.Sqrt((g - 1) / g * sum)
}
