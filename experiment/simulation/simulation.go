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

// Traffic generates the log of one experiment. Users differ in activity and click rate. They return
// on some of the days, see lists and click.
type Traffic struct {
	Seed  uint64
	Users int
	Days  int     // of the experiment
	Past  int     // days before the experiment
	Lift  float64 // relative increase of the treated arm's click probability
}

// The names of the arms and of the experiment.
const (
	Control    = "control"
	Treated    = "treated"
	Experiment = "simulated"
)

const (
	startMillis  = int64(1_767_225_600_000) // 2026-01-01
	dayMillis    = 24 * 60 * 60 * 1000
	itemsPerList = 8 // items
)

// visitor is one simulated user.
type visitor struct {
	id     string
	arm    string
	active float64 // probability of coming on a day
	lists  int     // on a day on which they come
	rate   float64 // clicks per item
}

// Records returns the log in order of time.
func (t Traffic) Records() iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		rng := rand.New(rand.NewPCG(t.Seed, 0xab))
		visitors := make([]visitor, t.Users)
		for i := range visitors {
			v := visitor{
				id:     fmt.Sprint("u", i),
				arm:    Control,
				active: 0.05 + 0.4*rng.Float64()*rng.Float64(),
				lists:  1 + rng.IntN(3),
				rate:   min(0.4, 0.08*math.Exp(0.6*rng.NormFloat64())),
			}
			if rng.Uint64()&1 == 1 { // like the hash of an id
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
					at := startMillis + int64(d)*dayMillis + rng.Int64N(dayMillis/2)
					if !w.writeList(v, at, rate, running) {
						return
					}
				}
			}
		}
	}
}

// writer passes events to the reader of the log.
type writer struct {
	yield func(event.Record, error) bool
	rng   *rand.Rand
	shown []string
	seq   uint64
}

// put passes one event on. It returns false when the reader has stopped.
func (w *writer) put(e ranker.Event) bool {
	w.seq++
	return w.yield(event.Record{Seq: w.seq, Arrival: e.Time, Event: e}, nil)
}

// writeList writes one list, and a click on each item with the given probability.
func (w *writer) writeList(v *visitor, at int64, rate float64, running bool) bool {
	id := fmt.Sprint("l", w.seq)
	e := ranker.Event{
		Kind:       ranker.EventImpression,
		ID:         id,
		Time:       at,
		UserID:     v.id,
		Impression: &ranker.Impression{Items: w.shown},
	}
	if running {
		e.Impression.Experiments = map[string]string{Experiment: v.arm}
	}
	if !w.put(e) {
		return false
	}
	for _, item := range w.shown {
		if w.rng.Float64() < rate && !w.put(click(id, v.id, item, at+1000)) {
			return false
		}
	}
	return true
}

// click returns a click on an item of a list.
func click(list, user, item string, at int64) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventInteraction, ID: list + item, Time: at, UserID: user,
		ItemID: item, Action: "click", ImpressionID: list,
	}
}

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
	n := float64(runs)
	for k := 0.0; k <= n; k++ {
		// The exact interval of a share contains p if and only if the share is in the range.
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
