// Package simulate proves a report's statistics on your own machine: it makes logs of experiments whose
// truth is known, has package verdict report on them as on any other log, and counts how often it is
// right.
//
// AA has no effect: what is found is false. AB has a planted lift: intervals must hold it and tests find
// it. Interleaving ranks by two models of the demo's world, by A/B and by team draft, and compares how
// many users a decision takes. All runs are the same for the same seed.
package simulation

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"

	"relish/experiment/analysis"
	"relish/features/event"
	"relish/internal/stats"
	"relish/ranker"
)

// Traffic is a made-up log of one experiment: users of unlike activity and taste, some of them with a
// past, who come on some of its days, see lists and click.
type Traffic struct {
	Seed  uint64
	Users int
	Days  int     // of the experiment
	Past  int     // days before it
	Lift  float64 // the treated arm's clicks are this much likelier
}

// The arms of Traffic, and the experiment's name.
const (
	Control    = "control"
	Treated    = "treated"
	Experiment = "simulated"
)

const (
	startMillis  = int64(1_767_225_600_000) // 2026-01-01
	dayMillis    = 24 * 60 * 60 * 1000
	itemsPerList = 8 // items, and chances to click
)

// visitor is one simulated user.
type visitor struct {
	id     string
	arm    string
	active float64 // chance to come on a day
	lists  int     // a day, when he comes
	rate   float64 // clicks per item
}

// Records gives the log in order.
func (t Traffic) Records() iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		rng := rand.New(rand.NewPCG(t.Seed, 0xab))
		visitors := make([]visitor, t.Users)
		for i := range visitors {
			v := visitor{id: fmt.Sprint("u", i), arm: Control, active: 0.05 + 0.4*rng.Float64()*rng.Float64(), lists: 1 + rng.IntN(3),
				rate: min(0.4, 0.08*math.Exp(0.6*rng.NormFloat64()))}
			if rng.Uint64()&1 == 1 { // as the hash of an id falls
				v.arm = Treated
			}
			visitors[i] = v
		}
		shown := make([]string, itemsPerList)
		for i := range shown {
			shown[i] = fmt.Sprint("i", i)
		}
		w := writer{yield: yield, rng: rng, shown: shown}
		for d := range t.Past + t.Days {
			for i := range visitors {
				v := &visitors[i]
				if rng.Float64() >= v.active {
					continue
				}
				rate, running := v.rate, d >= t.Past
				if running && v.arm == Treated {
					rate *= 1 + t.Lift
				}
				for range v.lists {
					if !w.writeList(v, startMillis+int64(d)*dayMillis+rng.Int64N(dayMillis/2), rate, running) {
						return
					}
				}
			}
		}
	}
}

type writer struct {
	yield func(event.Record, error) bool
	rng   *rand.Rand
	shown []string
	seq   uint64
}

func (w *writer) put(e ranker.Event) bool {
	w.seq++
	return w.yield(event.Record{Seq: w.seq, Arrival: e.Time, Event: e}, nil)
}

// writeList shows one list, and clicks each item with chance rate.
func (w *writer) writeList(v *visitor, at int64, rate float64, running bool) bool {
	id := fmt.Sprint("l", w.seq)
	e := ranker.Event{Kind: ranker.EventImpression, ID: id, Time: at, UserID: v.id, Impression: &ranker.Impression{Items: w.shown}}
	if running {
		e.Impression.Experiments = map[string]string{Experiment: v.arm}
	}
	if !w.put(e) {
		return false
	}
	for _, item := range w.shown {
		if w.rng.Float64() < rate && !w.put(ranker.Event{Kind: ranker.EventInteraction, ID: id + item, Time: at + 1000, UserID: v.id, ItemID: item, Action: "click", ImpressionID: id}) {
			return false
		}
	}
	return true
}

// Count is how often something happened, beside how often it should.
type Count struct {
	What string  `json:"what"`
	N    int     `json:"n"`
	Runs int     `json:"runs"`
	Rate float64 `json:"rate"`
	// Low and High are where a fair coin with the promised chance falls in 999 of 1,000 such counts; 0
	// and 1 where one side is not promised.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	OK   bool    `json:"ok"`
}

// checkRate says that a count's chance is p; atMost and atLeast leave one side open.
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

// binomialBounds is where a binomial share with chance p falls with probability 0.999, by its exact quantiles.
func binomialBounds(p float64, runs int) (low, high float64) {
	n := float64(runs)
	for k := 0.0; k <= n; k++ {
		// The tails of the share's distribution, through the interval of its inverse.
		l, h := stats.ClopperPearson(k, n, 0.001)
		if l <= p && p <= h {
			if low == 0 {
				low = k / n
			}
			high = k / n
		}
	}
	return low, high
}

// observed says how often, without a promise.
func observed(what string, n, runs int) Count {
	return Count{What: what, N: n, Runs: runs, Rate: float64(n) / float64(runs), High: 1, OK: true}
}

// reportEach reports on many simulated logs, on all cores, and hands each report to see, one at a time.
func reportEach(ctx context.Context, runs int, seed uint64, t Traffic, see func(*analysis.Report)) error {
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
				r, err := analysis.Run(ctx, traffic.Records(), analysis.Options{Experiment: Experiment})
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

// findings says whether a lift of zero was excluded: by the last one-look interval, by any day's
// one-look interval, by any day's sequential one; and whether the latter ever failed to hold truth.
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
		checkRate("false findings, one look at the end", once, runs, 0.05, false, false),
		checkRate("false findings, sequential, looked at daily", anytime, runs, 0.05, true, false),
		checkRate("false verdicts \"ship\"", shipped, runs, 0.05, true, false),
		checkRate("false alarms of the split", mismatched, runs, 0.001, true, false),
		observed("for comparison: one-look intervals, looked at daily", peeked, runs),
	}, err
}

// AB runs experiments with the traffic's lift and counts whether intervals hold it and tests find it.
func AB(ctx context.Context, runs int, seed uint64, t Traffic) ([]Count, error) {
	var covered, held, once, anytime, wearing int
	expected := 0.0
	err := reportEach(ctx, runs, seed, t, func(r *analysis.Report) {
		c := r.Comparisons[0]
		covered += oneIf(float64(c.Lift.Low) <= t.Lift && t.Lift <= float64(c.Lift.High))
		a, _, any, missed := findings(r, t.Lift)
		once, anytime, held = once+oneIf(a), anytime+oneIf(any), held+oneIf(!missed)
		// What theory gives this run's one-look test.
		se := float64(c.Difference.High-c.Difference.Low) / 2 / 1.96
		expected += power(t.Lift * float64(r.Arms[0].Adjusted) / se)
		wearing += oneIf(c.Novelty.WearsOff)
	})
	n := float64(runs)
	return []Count{
		checkRate("one-look interval holds the lift", covered, runs, 0.95, false, false),
		checkRate("sequential intervals of all days hold it", held, runs, 0.95, false, true),
		checkRate(fmt.Sprintf("found with one look at the end (theory: %.3f)", expected/n), once, runs, expected/n, false, false),
		observed("found by the sequential interval, looked at daily", anytime, runs),
		checkRate("false alarms of the lift wearing off", wearing, runs, 0.005, true, false),
	}, err
}

// power is the chance that a two-sided test of level 0.05 finds an effect of z standard errors.
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
