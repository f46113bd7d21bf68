package training_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"relish/features/event"
	"relish/ranker"
	"relish/training"
	"relish/training/replay"
)

// purchaseLog returns a log of purchases without impressions. There are five kinds of users and
// items; users buy items of their own kind.
func purchaseLog(users, each, items int) []event.Record {
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
		add(
			ranker.Event{
				Kind:   ranker.EventInteraction,
				UserID: fmt.Sprint("u", u),
				ItemID: fmt.Sprint("i", item),
				Action: "purchase",
			},
		)
	}
	return logOf(events)
}

// EncoderSplit has no interaction that is a label of the scorer in any training of a run, or that
// comes after one, and nothing of the held-out part. It has everything else.
func TestEncoderSplitHasNoLabels(t *testing.T) {
	for name, records := range map[string][]event.Record{
		"sampled lists": purchaseLog(300, 12, 80), "logged lists": demoLog(),
	} {
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
		first := map[string]uint64{} // by user: the first sequence that must not be in the split
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
		known, err := in.ScanBefore(t.Context(), cut)
		if err != nil {
			t.Fatal(err)
		}
		split := training.EncoderSplit(known, []*replay.Log{log}, &in.Config)
		for u := range split.Users {
			user := known.Users.IDs()[u]
			if got := len(split.Users[u].Interactions); got != want[user] ||
				split.Users[u].Lists != nil {
				t.Errorf("%s: %s has %d interactions, want %d", name, user, got, want[user])
			}
		}
		if total == 0 || total > steps*9/10 || len(first) < 30 {
			t.Errorf(
				"%s: %d of %d interactions are in the split, %d users have lists: the test "+
					"checks nothing",
				name,
				total,
				steps,
				len(first),
			)
		}
	}
}

// A warm start trains on old lists again, but on none that the parent's text encoder may have seen.
func TestOldListsAreNotInEncoderSplit(t *testing.T) {
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
	in.Parent = &training.Parent{
		Trees:        first.Trees.Model,
		Features:     first.Model.Schema.Features(),
		SignalKinds:  first.SignalKinds(),
		LearnedUntil: since,
	}
	train(t, in)
	known, err := in.ScanBefore(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	split, old := training.EncoderSplit(known, nil, &in.Config), 0
	steps := map[int32][]uint64{}
	for _, s := range known.Interactions {
		steps[s.User] = append(steps[s.User], s.Seq)
	}
	for _, seq := range dataset(t, in).ListSeqs {
		if seq >= since {
			continue
		}
		old++
		for u, id := range known.Users.IDs() {
			if n := len(split.Users[u].Interactions); id == records[seq-1].Event.UserID && n > 0 &&
				steps[int32(u)][n-1] > seq {
				t.Errorf(
					"the list at %d is older than an interaction of its user in the encoder's "+
						"split",
					seq,
				)
			}
		}
	}
	if old < 10 {
		t.Errorf("only %d old lists were trained on again: the test checks nothing", old)
	}
}

// Each training samples lists of the same users, even if the log has grown in between.
func TestSampledListsAreOfTheSameUsers(t *testing.T) {
	records := purchaseLog(300, 12, 80)
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
		t.Errorf("%d of %d users had sampled lists before", same, len(after))
	}
}

// Validate names each wrong value of the section encoder.
func TestEncoderConfig(t *testing.T) {
	c := training.DefaultConfig()
	c.Encoder = training.EncoderConfig{
		Tune:       "maybe",
		Objective:  "fame",
		Layers:     -1,
		Rank:       1000,
		Popularity: 2,
		Steps:      -1,
		Minutes:    -1,
		Begin:      "middle",
	}
	err := c.Validate()
	for _, name := range []string{
		"tune", "objective", "layers", "rank", "popularity", "steps", "minutes", "begin",
	} {
		if err == nil || !strings.Contains(err.Error(), "train.encoder."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := training.DefaultConfig()
	if got := d.Finetune(); got.TimeLimit != 0 || got.MaxSteps != 800 ||
		got.Objective != "next-item" ||
		got.LogQ != 0 {
		t.Errorf("%+v", got)
	}
}
