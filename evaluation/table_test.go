package evaluation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/training/replay"
)

// knows scores an item by a number of its own.
type knows struct {
	name  string
	score func(id string) float64
}

func (k knows) Name() string { return k.name }

func (k knows) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	out := make([]float64, len(c.Request.Candidates))
	for i := range out {
		out[i] = k.score(c.Request.Candidates[i].ID)
	}
	return out, nil
}

// best puts item b first, worst last.
var (
	best  = knows{"best", func(id string) float64 { return map[string]float64{"b": 2, "c": 1}[id] }}
	worst = knows{"worst", func(id string) float64 { return map[string]float64{"b": -2, "c": -1}[id] }}
)

// users makes lists of a, b, c, d in which b is clicked: each user's first, and n more.
func users(count, n int) (events []event.Event) {
	for round := range n + 1 {
		for u := range count {
			id := fmt.Sprintf("%d-%d", u, round)
			user := fmt.Sprint("u", u)
			events = append(events, shown("l"+id, user, "a", "b", "c", "d"), did("c"+id, user, "click", "b", "l"+id))
		}
	}
	return events
}

func contest(t *testing.T, events []event.Event, opt evaluation.Options, c evaluation.Scorers) *evaluation.Table {
	t.Helper()
	state := features.New(features.DefaultConfig())
	p, err := evaluation.NewTestSet(t.Context(), source(events...), state.Config(), opt)
	if err != nil {
		t.Fatal(err)
	}
	table, err := p.Run(t.Context(), state, c)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTable(t *testing.T) {
	// 10 users with 13 lists each; the first 5 of 130 lists want an item that was met less than 5 times.
	table := contest(t, users(10, 12), evaluation.Options{TestShare: 1, Prequential: true, K: 2},
		evaluation.Scorers{Models: []evaluation.Scorer{best, worst}, Pairs: []evaluation.Pair{{Scorer: "best", Against: "worst"}}})
	for slice, n := range map[string]int{evaluation.AllLists: 130, evaluation.NewUsers: 10, evaluation.KnownUsers: 120, evaluation.LongHistory: 30,
		evaluation.NewItems: 3, evaluation.RareItems: 7} {
		b, ok := table.Row("best", slice)
		if !ok || b.NDCG.N != n || b.NDCG.Mean != 1 || b.MRR.Mean != 1 || b.MAP.Mean != 1 || b.HitRate.Mean != 1 || b.AUC.Mean != 1 || b.Baseline {
			t.Errorf("%s: %+v, want %d lists in the best order", slice, b, n)
		}
		w, _ := table.Row("worst", slice)
		if w.NDCG.Mean != 0 || w.MRR.Mean != 0.25 || w.MAP.Mean != 0 || w.HitRate.Mean != 0 || w.AUC.Mean != 0 {
			t.Errorf("%s: %+v", slice, w)
		}
		if d, ok := table.Difference("best", "worst", slice); !ok || d.NDCG.Mean != 1 || d.NDCG.N != n || d.MRR.Low != 0.75 {
			t.Errorf("%s: better by %+v", slice, d)
		}
	}
	for _, o := range table.Overall {
		if o.Scorer != "best" {
			continue
		}
		if o.Coverage != 0.5 { // b and c, of four
			t.Errorf("coverage %g", o.Coverage)
		}
		if *o.AUC != 1 || o.Calibration == nil || o.Calibration.Error > 0.05 {
			t.Errorf("%+v", o)
		}
		if o.Diversity != nil {
			t.Errorf("diversity %v of items of which nothing is known", o.Diversity)
		}
	}
	if _, err := json.Marshal(table); err != nil {
		t.Errorf("a table is no JSON: %v", err)
	}
}

// Who else is measured changes no figure, not even that of chance.
func TestScorersAreApart(t *testing.T) {
	opt := evaluation.Options{TestShare: 1, Prequential: true, Seed: 3}
	alone := contest(t, users(10, 5), opt, evaluation.Scorers{})
	beside := contest(t, users(10, 5), opt, evaluation.Scorers{Baselines: []evaluation.Scorer{worst}, Models: []evaluation.Scorer{best}})
	for _, row := range alone.Rows {
		if got, ok := beside.Row(row.Scorer, row.Slice); !ok || got.NDCG != row.NDCG || got.MRR != row.MRR {
			t.Errorf("%+v became %+v", row, got)
		}
	}
}

// Slices that hold every list or none are no rows.
func TestSlicesThatSayNothing(t *testing.T) {
	table := contest(t, users(10, 0), evaluation.Options{TestShare: 0.5, Prequential: true}, evaluation.Scorers{Models: []evaluation.Scorer{best}})
	for _, r := range table.Rows {
		if r.Slice == evaluation.NewUsers || r.Slice == evaluation.KnownUsers || r.Slice == evaluation.LongHistory {
			t.Errorf("the row %+v repeats all lists, or is of none", r)
		}
	}
}

func TestDiversityByTags(t *testing.T) {
	var events []event.Event
	for id, tags := range map[string][]string{"a": {"x"}, "b": {"x", "y"}, "c": {"z"}, "d": nil} {
		events = append(events, event.Event{Kind: event.EventItem, ID: "i" + id, ItemID: id, Tags: tags})
	}
	table := contest(t, append(events, users(3, 0)...), evaluation.Options{TestShare: 1, K: 2}, evaluation.Scorers{Models: []evaluation.Scorer{best}})
	last := table.Overall[len(table.Overall)-1]
	if last.Diversity == nil || last.Diversity.Mean != 1 { // b and c share nothing
		t.Errorf("%+v", last)
	}
}

// A score that is no number, and a comparison with nobody, are errors.
func TestContestRefusals(t *testing.T) {
	bad := func(x float64) evaluation.Scorers {
		return evaluation.Scorers{Models: []evaluation.Scorer{knows{"bad", func(string) float64 { return x }}}}
	}
	for name, c := range map[string]evaluation.Scorers{
		"NaN": bad(math.NaN()), "infinite": bad(math.Inf(1)), "nobody": {Pairs: []evaluation.Pair{{Scorer: "random", Against: "nobody"}}},
	} {
		state := features.New(features.DefaultConfig())
		p, err := evaluation.NewTestSet(t.Context(), source(users(2, 0)...), state.Config(), evaluation.Options{TestShare: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Run(t.Context(), state, c); err == nil {
			t.Errorf("%s: measured", name)
		}
	}
}
