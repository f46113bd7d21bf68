package training_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/features/event"
	"relish/internal/onnxtest"
	"relish/ranker"
	"relish/ranker/signals"
)

// sequencesLog is the log of users who each take some items, one after the other. next chooses the
// item that a user takes after another one.
func sequencesLog(items int, next func(item int) int) []event.Record {
	const users, taken, start = 120, 8, 1_700_000_000_000
	var events []ranker.Event
	for i := range items {
		events = append(events, ranker.Event{
			Kind: ranker.EventItem, ID: fmt.Sprint("text-", i), Time: start,
			ItemID: fmt.Sprint("item-", i), Tags: []string{},
		})
	}
	for u := range users {
		item := u % items
		for k := range taken {
			events = append(events, ranker.Event{
				Kind: ranker.EventInteraction, ID: fmt.Sprint("click-", u, "-", k), Action: "click",
				Time:   start + int64(1+k*users+u)*60_000,
				UserID: fmt.Sprint("user-", u), ItemID: fmt.Sprint("item-", item),
			})
			item = next(item)
		}
	}
	slices.SortStableFunc(events, func(a, b ranker.Event) int { return int(a.Time - b.Time) })
	return logOf(events)
}

// A two-tower model of users who take items at random is no part of a training, unless the caller
// says so. One of users who take the items in their order is.
func TestTwoTowerMustBeatPopularity(t *testing.T) {
	const items = 40
	r := rand.New(rand.NewPCG(1, 1))
	random := sequencesLog(items, func(int) int { return r.IntN(items) })
	ordered := sequencesLog(items, func(item int) int { return (item + 1) % items })
	for _, c := range []struct {
		name       string
		log        []event.Record
		keep, want bool
	}{
		{"random", random, false, false}, {"random, kept", random, true, true},
		{"ordered", ordered, false, true},
	} {
		in := inputs(t, c.log)
		in.Config.Signals = append([]string{signals.KindTwoTower}, quick...)
		in.Config.Scorer.Rounds = 2
		in.Backend, in.KeepTwoTower = onnxtest.Backend(t, 1), c.keep
		out := train(t, in)
		if out.TwoTower == nil || out.TwoTower.Users < 30 {
			t.Fatalf("%s: %+v", c.name, out.TwoTower)
		}
		column := slices.ContainsFunc(out.Model.Schema.Columns(), func(c ranker.Column) bool {
			return strings.HasPrefix(c.Name, "two_tower.")
		})
		has := slices.Contains(out.SignalKinds(), signals.KindTwoTower)
		if has != c.want || column != c.want || out.LeavesOutTwoTower() == c.want {
			t.Errorf("%s: the model is part of it: %v, a column: %v, want %v; %+v", c.name, has,
				column, c.want, out.TwoTower)
		}
	}
}
