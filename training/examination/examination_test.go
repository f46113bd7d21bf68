package examination_test

import (
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/internal/demo"
	"relish/training/examination"
	"relish/training/replay"
)

// demoLog scans the log of a demo world.
func demoLog(t *testing.T, opt demo.Options) *replay.Log {
	t.Helper()
	src := func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			seq := uint64(0)
			for e := range demo.New(opt).Events() {
				seq++
				if !yield(event.Record{Seq: seq, Arrival: e.Time, Event: e}, nil) {
					return
				}
			}
		}
	}
	log, err := replay.Scan(t.Context(), src, replay.Options{State: features.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// The demo's users look at a position with a probability that only the simulator knows.
func TestDemo(t *testing.T) {
	log := demoLog(t, demo.Options{Seed: 1})
	reported := *log
	reported.Lists = slices.Clone(log.Lists)
	for i := range reported.Lists {
		reported.Lists[i].BasePositions = nil
	}
	for name, log := range map[string]*replay.Log{"explored": log, "reported": &reported} {
		explored := name == "explored"
		e := examination.FromLog(log, math.MaxUint64)
		if !e.Sufficient() || e.Curve == nil || e.Lists != 3000 || (e.Explored > 0) != explored {
			t.Fatalf("%s: %+v", name, e)
		}
		for position := range 24 {
			got, want := e.Curve.Examination(position), demo.Examination(position)
			if math.Abs(got-want) > 0.12 {
				t.Errorf("%s: position %d is examined with %.2f, want %.2f",
					name, position, got, want)
			}
		}
		if got, last := e.Curve.Examination(90), e.Curve.Examination(24); got != last {
			t.Errorf("%s: a position that was never shown has %.2f, the last one %.2f",
				name, got, last)
		}
	}
}

// world draws lists of ten items. relevance is the click probability of an item at a position.
// order returns the order shown, and the order before exploration, nil if there was none.
func world(
	lists int, relevance func(rng *rand.Rand, user, item, position int) float64,
	order func(rng *rand.Rand, user int) (shown, base []int),
) *replay.Log {
	rng := rand.New(rand.NewPCG(3, 4))
	log := &replay.Log{}
	for n := range lists {
		user := rng.IntN(10)
		shown, base := order(rng, user)
		l := replay.LoggedList{Seq: uint64(n + 1), Model: "m1"}
		for position, item := range shown {
			gain := float32(0)
			if rng.Float64() < relevance(rng, user, item, position) {
				gain = 1
			}
			l.Items, l.Gains = append(l.Items, int32(item)), append(l.Gains, gain)
			for place, i := range base {
				if i == item {
					l.BasePositions = append(l.BasePositions, int16(place))
				}
			}
		}
		log.Lists = append(log.Lists, l)
	}
	return log
}

// liked is the click probability of an item that the user examines: each user likes another item.
func liked(user, item int) float64 { return 0.4 / float64(1+(item-user+10)%10) }

// personal is the best order for a user, and swapped the same order with two neighbours exchanged.
func personal(user int) (order []int) {
	for i := range 10 {
		order = append(order, (user+i)%10)
	}
	return order
}

func swapped(rng *rand.Rand, order []int) []int {
	out := append([]int(nil), order...)
	for range 20 {
		k := rng.IntN(9)
		out[k], out[k+1] = out[k+1], out[k]
	}
	return out
}

// When positions explain nothing, every click has the weight 1, even though a personalised order
// puts the clicks on top: exploration tells position from relevance.
func TestPositionsThatExplainNothing(t *testing.T) {
	log := world(3000,
		func(_ *rand.Rand, user, item, _ int) float64 { return liked(user, item) },
		func(rng *rand.Rand, user int) (shown, base []int) {
			base = personal(user)
			return swapped(rng, base), base
		})
	e := examination.FromLog(log, math.MaxUint64)
	if e.Curve != nil || !e.Sufficient() || e.Explored != 3000 {
		t.Errorf("%v %+v", e.Curve, e)
	}
	for position := range 100 {
		if w := e.Curve.Weight(position); w != 1 {
			t.Fatalf("a click at position %d weighs %g", position, w)
		}
	}
}

// Exploration tells the bias of a personalised order.
func TestExploredPersonalOrder(t *testing.T) {
	log := world(8000,
		func(_ *rand.Rand, user, item, position int) float64 {
			return liked(user, item) * demo.Examination(2*position)
		},
		func(rng *rand.Rand, user int) (shown, base []int) {
			base = personal(user)
			return swapped(rng, base), base
		})
	e := examination.FromLog(log, math.MaxUint64)
	if e.Curve == nil {
		t.Fatalf("%+v", e)
	}
	for position := range 10 {
		got, want := e.Curve.Examination(position), demo.Examination(2*position)
		if math.Abs(got-want) > 0.12 {
			t.Errorf("position %d is examined with %.2f, want %.2f", position, got, want)
		}
	}
}

// Lists that Relish ranked without exploration tell nothing, and neither do a few clicks.
func TestLogsThatTellNothing(t *testing.T) {
	unexplored := world(2000,
		func(_ *rand.Rand, user, item, _ int) float64 { return liked(user, item) },
		func(_ *rand.Rand, user int) (shown, base []int) { return personal(user), nil })
	few := demoLog(t, demo.Options{Seed: 1, Users: 20, Lists: 60})
	for name, log := range map[string]*replay.Log{
		"unexplored": unexplored, "few": few, "none": {},
	} {
		if e := examination.FromLog(log, math.MaxUint64); e.Sufficient() || e.Curve != nil {
			t.Errorf("%s: %v %+v", name, e.Curve, e)
		}
	}
}

// Only lists before the given sequence are read.
func TestBefore(t *testing.T) {
	log := demoLog(t, demo.Options{Seed: 1, Users: 20, Lists: 60})
	if e := examination.FromLog(log, log.Lists[20].Seq); e.Lists != 20 {
		t.Errorf("%d lists", e.Lists)
	}
}
