package simulation

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"relish/features/event"
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
