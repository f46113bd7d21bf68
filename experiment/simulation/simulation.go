// Package simulation verifies the statistics of experiment reports. It generates logs of
// experiments whose truth is known, lets package analysis report on them, and counts how often the
// report is right.
//
// AA simulates experiments without an effect, so every finding is false. AB simulates a known lift,
// which intervals must contain and tests must find. InterleavingTrial compares how many users a
// decision takes by A/B and by interleaving. All runs depend on the seed alone.
package simulation

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"

	"relish/experiment/analysis"
	"relish/internal/stats"
)

// Count is how often something happened, with the range in which its rate must be.
type Count struct {
	What string  `json:"what"`
	N    int     `json:"n"`
	Runs int     `json:"runs"`
	Rate float64 `json:"rate"`
	// Low and High bound the rate: 999 of 1,000 correct counts are between them. They are 0 and 1
	// on a side without a bound.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	OK   bool    `json:"ok"`
}

// checkRate compares a rate with its nominal probability p. atMost and atLeast check only one side.
func checkRate(what string, n, runs int, p float64, atMost, atLeast bool) Count {
	c := Count{What: what, N: n, Runs: runs, Rate: float64(n) / float64(runs), High: 1}
	low, high := binomialBounds(p, runs)
	if !atMost {
		c.Low = low
	}
	if !atLeast {
		c.High = high
	}
	c.OK = c.Rate >= c.Low && c.Rate <= c.High
	return c
}

// binomialBounds returns the range of rates that a binomial share with probability p is in with
// probability 0.999.
func binomialBounds(p float64, runs int) (low, high float64) {
	n, found := float64(runs), false
	for k := 0.0; k <= n; k++ {
		// The exact interval of a share contains p if and only if the share is in the range.
		l, h := stats.ClopperPearson(k, n, 0.001)
		if l <= p && p <= h {
			if !found {
				low, found = k/n, true
			}
			high = k / n
		}
	}
	return low, high
}

// observed is a rate without a nominal probability.
func observed(what string, n, runs int) Count {
	return Count{What: what, N: n, Runs: runs, Rate: float64(n) / float64(runs), High: 1, OK: true}
}

// reportEach reports on many simulated logs, on all cores, and calls see with each report, one at a
// time.
func reportEach(
	ctx context.Context, runs int, seed uint64, t Traffic, see func(*analysis.Report),
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan uint64)
	go func() {
		defer close(next)
		for i := range runs {
			select {
			case next <- seed + uint64(i):
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range next {
				traffic := t
				traffic.Seed = s
				opt := analysis.Options{Experiment: Experiment}
				r, err := analysis.Run(ctx, traffic.Records(), opt)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				see(r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// findings says whether a lift of zero was excluded: by the p-value at the end, by any day's
// one-look interval, and by any day's sequential interval. missed says whether a sequential
// interval ever failed to contain the truth.
func findings(r *analysis.Report, truth float64) (once, peeked, anytime, missed bool) {
	c := r.Comparisons[0]
	once = float64(c.P) < r.Alpha
	for _, d := range r.Series {
		total := d.Cumulative[0]
		peeked = peeked || total.Low > 0 || total.High < 0
		anytime = anytime || total.SeqLow > 0 || total.SeqHigh < 0
		missed = missed || float64(total.SeqLow) > truth || float64(total.SeqHigh) < truth
	}
	return once, peeked, anytime, missed
}

// AA runs experiments without an effect and counts what is found in them.
func AA(ctx context.Context, runs int, seed uint64, t Traffic) ([]Count, error) {
	var once, peeked, anytime, mismatched, shipped int
	t.Lift = 0
	err := reportEach(ctx, runs, seed, t, func(r *analysis.Report) {
		a, b, c, _ := findings(r, 0)
		once, peeked, anytime = once+oneIf(a), peeked+oneIf(b), anytime+oneIf(c)
		mismatched += oneIf(r.SampleRatio.P < 0.001)
		shipped += oneIf(r.Decision.Action == analysis.Ship)
	})
	return []Count{
		checkRate("false findings with one look at the end", once, runs, 0.05, false, false),
		checkRate("false findings of the sequential interval, looked at daily",
			anytime, runs, 0.05, true, false),
		checkRate("false decisions to ship", shipped, runs, 0.05, true, false),
		checkRate("false sample ratio mismatches", mismatched, runs, 0.001, true, false),
		observed("for comparison: one-look intervals, looked at daily", peeked, runs),
	}, err
}

// AB runs experiments with the traffic's lift. It counts how often intervals contain the lift and
// tests find it.
func AB(ctx context.Context, runs int, seed uint64, t Traffic) ([]Count, error) {
	var covered, contained, once, anytime, wearing int
	expected := 0.0
	err := reportEach(ctx, runs, seed, t, func(r *analysis.Report) {
		c := r.Comparisons[0]
		covered += oneIf(float64(c.Lift.Low) <= t.Lift && t.Lift <= float64(c.Lift.High))
		atEnd, _, atAnyLook, missed := findings(r, t.Lift)
		once += oneIf(atEnd)
		anytime += oneIf(atAnyLook)
		contained += oneIf(!missed)
		// The power of this run's one-look test in theory.
		expected += power(t.Lift * float64(r.Arms[0].Adjusted) / standardError(c.Difference))
		wearing += oneIf(c.Novelty.WearsOff)
	})
	n := float64(runs)
	return []Count{
		checkRate("the one-look interval contains the lift", covered, runs, 0.95, false, false),
		checkRate("the sequential intervals of all days contain the lift",
			contained, runs, 0.95, false, true),
		checkRate(fmt.Sprintf("found with one look at the end (theory: %.3f)", expected/n),
			once, runs, expected/n, false, false),
		observed("found by the sequential interval, looked at daily", anytime, runs),
		checkRate("false findings that the lift wears off", wearing, runs, 0.005, true, false),
	}, err
}

// power returns the probability that a two-sided test of level 0.05 finds an effect of z standard
// errors.
func power(z float64) float64 {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	return phi(z-1.96) + phi(-z-1.96)
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}
