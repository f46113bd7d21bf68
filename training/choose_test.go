package training_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"relish/features/event"
	"relish/ranker"
	"relish/training"
)

// bareLog is purchases without impressions. Users take what goes with their kind, of which there are five.
func bareLog(users, each, items int) []event.Record {
	r := rand.New(rand.NewPCG(5, 5))
	var events []ranker.Event
	now := int64(1_750_000_000_000)
	add := func(e ranker.Event) {
		now += 1000
		e.ID, e.Time = fmt.Sprint("e", len(events)), now
		events = append(events, e)
	}
	for i := range items {
		title := fmt.Sprint("item ", i)
		add(ranker.Event{Kind: ranker.EventItem, ItemID: fmt.Sprint("i", i), Title: &title})
	}
	for range users * each {
		u := r.IntN(users)
		item := u%5 + 5*min(r.IntN(items/5), r.IntN(items/5))
		add(ranker.Event{Kind: ranker.EventInteraction, UserID: fmt.Sprint("u", u), ItemID: fmt.Sprint("i", item), Action: "purchase"})
	}
	return logOf(events)
}

// What the text encoder may learn from holds no step that is a label, or comes after one, in any of the trainings of a
// run, nor anything of the part that is measured on, and all the rest.
func TestSparedHoldsNoLabels(t *testing.T) {
	for name, records := range map[string][]event.Record{"made lists": bareLog(300, 12, 80), "shown lists": demoLog()} {
		in := inputs(t, records)
		in.Config.Signals, in.Config.Scorer.Rounds, in.Config.MaxLists = quick, 2, 120
		log, err := in.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cut, err := log.HoldoutStart(0.1)
		if err != nil {
			t.Fatal(err)
		}
		first := map[string]uint64{} // by user: the first sequence that is not to be seen
		for _, holdout := range []float64{0.1, 0} {
			in.Holdout = holdout
			train(t, in)
			for _, seq := range dataset(t, in).ListSeqs {
				user := records[seq-1].Event.UserID
				if before, ok := first[user]; !ok || seq < before {
					first[user] = seq
				}
			}
		}
		want, total, steps := map[string]int{}, 0, 0
		for _, s := range log.Interactions {
			user := log.Users.IDs()[s.User]
			steps++
			if limit, ok := first[user]; s.Seq < cut && (!ok || s.Seq < limit) {
				want[user]++
				total++
			}
		}
		spared := training.EncoderSplit(log, []uint64{cut, math.MaxUint64}, &in.Config)
		for u := range spared.Users {
			user := log.Users.IDs()[u]
			if got := len(spared.Users[u].Interactions); got != want[user] || spared.Users[u].Lists != nil {
				t.Errorf("%s: %s has %d steps, want %d", name, user, got, want[user])
			}
		}
		if total == 0 || total > steps*9/10 || len(first) < 30 {
			t.Errorf("%s: %d of %d steps are spared, %d users have lists: the test sees nothing", name, total, steps, len(first))
		}
	}
}

// A training from a parent learns old lists again, and none that the parent's text encoder may have learned from.
func TestOldListsAreNotTheEncoders(t *testing.T) {
	records := demoLog()
	in := inputs(t, records)
	in.Config.Signals, in.Config.Scorer.Rounds, in.Config.MaxLists = quick, 5, 200
	log, err := in.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	since, err := log.HoldoutStart(0.3)
	if err != nil {
		t.Fatal(err)
	}
	in.Holdout = 0.3
	first := train(t, in)
	in.Holdout = 0
	in.Parent = &training.Parent{Trees: first.Trees.Model, Features: first.Model.Schema.Features(), SignalKinds: first.SignalKinds(), LearnedUntil: since}
	train(t, in)
	spared, old := training.EncoderSplit(log, []uint64{since}, &in.Config), 0
	steps := map[int32][]uint64{}
	for _, s := range log.Interactions {
		steps[s.User] = append(steps[s.User], s.Seq)
	}
	for _, seq := range dataset(t, in).ListSeqs {
		if seq >= since {
			continue
		}
		old++
		for u, id := range log.Users.IDs() {
			if n := len(spared.Users[u].Interactions); id == records[seq-1].Event.UserID && n > 0 && steps[int32(u)][n-1] > seq {
				t.Errorf("the list at %d is older than a step that its user's encoder learned from", seq)
			}
		}
	}
	if old < 10 {
		t.Errorf("only %d old lists were learned again: the test sees nothing", old)
	}
}

// The users whose newest interactions are labels are the same ones in every training, whatever else the log holds by then.
func TestMadeListsAreOfTheSameUsers(t *testing.T) {
	records := bareLog(300, 12, 80)
	users := func(records []event.Record) map[string]bool {
		in := inputs(t, records)
		in.Config.Signals, in.Config.Scorer.Rounds, in.Config.MaxLists = quick, 2, 120
		train(t, in)
		out := map[string]bool{}
		for _, seq := range dataset(t, in).ListSeqs {
			out[records[seq-1].Event.UserID] = true
		}
		return out
	}
	before, after := users(records[:len(records)*9/10]), users(records)
	same := 0
	for u := range after {
		if before[u] {
			same++
		}
	}
	if len(after) != 120 || same < 110 {
		t.Errorf("%d of %d users were labels before", same, len(after))
	}
}

// Every wrong value of the encoder's section is named.
func TestEncoderConfig(t *testing.T) {
	c := training.DefaultConfig()
	c.Encoder = training.EncoderConfig{Tune: "maybe", Objective: "fame", Layers: -1, Rank: 1000, Popularity: 2, Steps: -1, Minutes: -1, Begin: "middle"}
	err := c.Validate()
	for _, name := range []string{"tune", "objective", "layers", "rank", "popularity", "steps", "minutes", "begin"} {
		if err == nil || !strings.Contains(err.Error(), "train.encoder."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := training.DefaultConfig()
	if got := d.Finetune(); got.TimeLimit.Minutes() != 10 || got.MaxSteps != 2000 || got.Objective != "next-item" || got.LogQ != 0 {
		t.Errorf("%+v", got)
	}
}
