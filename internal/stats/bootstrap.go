// Package stats holds the statistics that more than one part needs: means with intervals, and what tells
// two arms of an experiment apart. Each function names the paper of its formula; the tests compare with
// other implementations and by simulation. All functions are pure and safe for concurrent use.
package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is an estimate with its 95 % confidence interval.
type Interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	N    int     `json:"n"`
}

// String prints the estimate to three places, as tables show it.
func (i Interval) String() string { return fmt.Sprintf("%.3f [%.3f, %.3f]", i.Mean, i.Low, i.High) }

const resamples = 1000

// Bootstrap returns the mean of xs and its percentile bootstrap interval (Efron and Tibshirani,
// An Introduction to the Bootstrap, 1993, ch. 13) from 1,000 resamples, the same for the same seed.
// NaN values are an error, since they would silently spoil the mean. No values give NaN everywhere.
func Bootstrap(xs []float64, seed uint64) (Interval, error) {
	for i, x := range xs {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return Interval{}, fmt.Errorf("value %d of %d is not finite", i, len(xs))
		}
	}
	if len(xs) == 0 {
		nan := math.NaN()
		return Interval{Mean: nan, Low: nan, High: nan}, nil
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
	return Interval{Mean: Mean(xs), Low: means[resamples*25/1000], High: means[resamples*975/1000-1], N: len(xs)}, nil
}

// Mean returns the arithmetic mean, NaN for no values.
func Mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}
