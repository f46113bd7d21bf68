// Package stats holds the statistics that several packages need: means with intervals, and the
// comparison of two arms of an experiment. Each function names the source of its formula. The tests
// compare with other implementations and with simulations. All functions are pure and safe for
// concurrent use.
package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// resamples is the number of bootstrap resamples.
const resamples = 1000

// MinIntervalValues is the number of values below which Bootstrap gives no interval. The
// percentiles of fewer values are too close together: they cover the truth less often than they
// promise.
const MinIntervalValues = 30

// Bootstrap returns the mean of xs with its 95 % percentile bootstrap interval (Efron and
// Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13), from 1,000 resamples. The result
// is the same for the same seed. With fewer than MinIntervalValues values, it has no interval.
//
// A value that is NaN or infinite is an error, since it would silently spoil the mean. Without
// values, the result is NaN.
func Bootstrap(xs []float64, seed uint64) (Interval, error) {
	for i, x := range xs {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return Interval{}, fmt.Errorf("value %d of %d is %g; all values must be finite",
				i, len(xs), x)
		}
	}
	if len(xs) < MinIntervalValues {
		return Interval{Mean: Mean(xs), Low: math.NaN(), High: math.NaN(), N: len(xs)}, nil
	}
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	means := make([]float64, resamples)
	for r := range means {
		sum := 0.0
		for range xs {
			sum += xs[rng.IntN(len(xs))]
		}
		means[r] = sum / float64(len(xs))
	}
	slices.Sort(means)
	return Interval{
		Mean: Mean(xs),
		Low:  means[resamples*25/1000],
		High: means[resamples*975/1000-1],
		N:    len(xs),
	}, nil
}

// Mean returns the arithmetic mean, NaN for no values.
func Mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// PairedBootstrap returns the mean of a - b with its bootstrap interval. a[i] and b[i] are the
// results of two scorers on the same list i.
//
// Lists differ far more than scorers do. Pairing removes that variance, so the interval is much
// narrower than those of a and b (Efron and Tibshirani 1993, chapter 13, on the differences; for
// rankings: Sakai, Evaluating evaluation metrics based on the bootstrap, SIGIR 2006). Different
// lengths and values that are not finite are errors.
func PairedBootstrap(a, b []float64, seed uint64) (Interval, error) {
	if len(a) != len(b) {
		return Interval{}, fmt.Errorf("%d results against %d; pairs need the same lists "+
			"in the same order", len(a), len(b))
	}
	differences := make([]float64, len(a))
	for i := range a {
		differences[i] = a[i] - b[i]
	}
	return Bootstrap(differences, seed)
}
