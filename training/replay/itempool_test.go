package replay_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/features/event"
	"relish/ranker"
	"relish/training/replay"
)

// growingLog returns a log whose catalogue grows tenfold while users interact with it. Some items
// are deleted, and some come back.
func growingLog(steps int) *tape {
	const first, last = 20, 200
	r := rand.New(rand.NewPCG(4, 4))
	tp, items := new(tape), 0
	for step := range steps {
		for ; items < first+(last-first)*step/steps; items++ {
			tp.add(item(fmt.Sprint("i", items)))
		}
		if r.IntN(40) == 0 {
			tp.add(ranker.Event{Kind: ranker.EventDelete, ItemID: fmt.Sprint("i", r.IntN(items))})
		}
		tp.add(did(fmt.Sprint("u", r.IntN(30)), "click", fmt.Sprint("i", r.IntN(items)), ""))
	}
	return tp
}

// existing returns, by sequence, whether an item existed just before the record: it was described
// or chosen before, and not deleted since.
func existing(records []event.Record, id string, seq uint64) (exists bool) {
	for _, rec := range records {
		if rec.Seq < seq && rec.Event.ItemID == id {
			exists = rec.Event.Kind != ranker.EventDelete
		}
	}
	return exists
}

// No item of a sampled list comes from the future: each one existed just before the list, also if
// negatives are drawn by popularity.
func TestSampledItemsExisted(t *testing.T) {
	tp := growingLog(2000)
	log := scan(t, tp, replay.Options{})
	for _, popular := range []float64{0, 0.5} {
		n := replay.Negatives{Count: 9, Popular: popular}
		lists, early := log.SampledLists(0, math.MaxUint64, n, 0, 1), 0
		for _, l := range lists {
			for _, number := range l.Items {
				id := log.Items.IDs()[number]
				if !existing(tp.records, id, l.Seq) {
					t.Fatalf("%g by popularity: the list at %d has %s, which did not exist",
						popular, l.Seq, id)
				}
			}
			if l.Seq < 500 {
				early++
			}
		}
		if len(lists) < 1000 || early < 100 {
			t.Errorf("%d lists, %d early ones: the test checks nothing", len(lists), early)
		}
	}
}

// Of the items that exist, each is a negative equally often, new ones as well as old ones.
func TestSampledItemsAreUniform(t *testing.T) {
	tp := new(tape)
	for i := range 20 {
		tp.add(item(fmt.Sprint("i", i)))
	}
	for u := range 3000 {
		id := fmt.Sprint("u", u)
		tp.add(did(id, "click", "i0", ""), did(id, "click", "i1", ""))
	}
	log := scan(t, tp, replay.Options{})
	counts, total := make([]float64, 20), 0.0
	for _, l := range log.SampledLists(0, math.MaxUint64, replay.Negatives{Count: 4}, 0, 1) {
		for i, item := range l.Items {
			if l.Gains[i] == 0 {
				counts[item]++
				total++
			}
		}
	}
	// Chi-square with 17 degrees of freedom exceeds 40.8 for one seed in a thousand.
	chi, want := 0.0, total/18
	for _, n := range counts[2:] {
		chi += (n - want) * (n - want) / want
	}
	if chi > 40.8 || counts[0]+counts[1] > 0 || total != 12000 {
		t.Errorf("negatives by item: %v, chi-square %.1f", counts, chi)
	}
}

// A sampled list depends on the records before it: the same log, cut later or continued
// differently, gives the same lists up to there.
func TestSampledListsDoNotKnowTheFuture(t *testing.T) {
	tp := growingLog(2000)
	const cut = 1200
	n := replay.Negatives{Count: 9, Popular: 0.3}
	before := func(tp *tape) []replay.RankingList {
		return scan(t, tp, replay.Options{}).SampledLists(0, cut, n, 0, 1)
	}
	want := before(tp)
	if again := before(tp); !equalLists(want, again) {
		t.Error("the same log gave two samples")
	}
	other := &tape{records: slices.Clone(tp.records[:cut])}
	for i := range 500 {
		id := fmt.Sprint("later", i%50)
		other.add(item(id), did(fmt.Sprint("u", i%30), "click", id, ""))
		other.add(did(fmt.Sprint("u", i%30), "click", fmt.Sprint("i", i%20), ""))
	}
	if got := before(other); len(want) < 500 || !equalLists(got, want) {
		t.Errorf("%d lists before the cut, or other ones with another future", len(want))
	}
}

func equalLists(a, b []replay.RankingList) bool {
	return slices.EqualFunc(a, b, func(x, y replay.RankingList) bool {
		return x.Seq == y.Seq && x.User == y.User && slices.Equal(x.Items, y.Items) &&
			slices.Equal(x.Gains, y.Gains)
	})
}
