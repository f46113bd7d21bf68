package stats

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// SampleRatioMismatch tests whether counts (at least two) agree with weights (positive, on any
// scale). It returns Pearson's chi-squared and its p-value. A sample ratio mismatch voids an
// experiment (Fabijan et al., Diagnosing sample ratio mismatch in online controlled experiments,
// KDD 2019).
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

// SignTest returns the exact two-sided p-value of the sign test: wins of n flips of a fair coin.
// The distribution is symmetric, so the p-value is twice the smaller tail.
func SignTest(wins, n float64) float64 {
	if n == 0 {
		return 1
	}
	return min(1, 2*distuv.Binomial{N: n, P: 0.5}.CDF(min(wins, n-wins)))
}

// ClopperPearson returns the exact confidence interval of a share at level 1 - alpha (Clopper and
// Pearson, The use of confidence or fiducial limits, Biometrika 1934).
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

// Holm returns adjusted p-values. Rejecting all below alpha keeps the probability of any false
// rejection below alpha (Holm, A simple sequentially rejective multiple test procedure,
// Scandinavian Journal of Statistics 1979). NaN stays NaN and does not count as a test.
func Holm(p []float64) []float64 {
	return adjustPValues(p, func(order []int, out []float64) {
		running := 0.0
		for rank, i := range order {
			running = max(running, float64(len(order)-rank)*p[i])
			out[i] = min(1, running)
		}
	})
}

// BenjaminiHochberg returns adjusted p-values. Rejecting all below alpha keeps the expected share
// of false rejections below alpha (Benjamini and Hochberg, Controlling the false discovery rate,
// JRSS B 1995). NaN stays NaN and does not count as a test.
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

// adjustPValues calls adjust with the indices of the p-values, smallest first, and the slice to
// write to.
func adjustPValues(p []float64, adjust func(order []int, out []float64)) []float64 {
	out := slices.Clone(p)
	var order []int
	for i := range p {
		if !math.IsNaN(p[i]) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	adjust(order, out)
	return out
}

// Jackknife returns the standard error of a statistic from its values with one group of units left
// out at a time. Units must be divided into groups at random (delete-a-group jackknife: Kott, The
// delete-a-group jackknife, Journal of Official Statistics 2001).
//
// It serves statistics that are not means, such as quantiles, if the groups are large. It is NaN
// for fewer than two groups.
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
