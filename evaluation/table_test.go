package evaluation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/internal/stats"
	"relish/ranker"
	"relish/training/replay"
)

// fixedScores is a scorer whose scores depend on the item id alone.
type fixedScores struct {
	name  string
	score func(id string) float64
}

func (k fixedScores) Name() string { return k.name }

func (k fixedScores) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	out := make([]float64, len(c.Request.Candidates))
	for i := range out {
		out[i] = k.score(c.Request.Candidates[i].ID)
	}
	return out, nil
}

// best ranks item b first, worst ranks it last.
var (
	best = fixedScores{
		"best",
		func(id string) float64 { return map[string]float64{"b": 2, "c": 1}[id] },
	}
	worst = fixedScores{
		"worst",
		func(id string) float64 { return map[string]float64{"b": -2, "c": -1}[id] },
	}
)

// clickLog makes events of n+1 lists for each of count users. Every list shows a, b, c and d, and b
// is clicked.
func clickLog(count, n int) (events []ranker.Event) {
	for round := range n + 1 {
		for u := range count {
			id := fmt.Sprintf("%d-%d", u, round)
			user := fmt.Sprint("u", u)
			events = append(
				events,
				shown("l"+id, user, "a", "b", "c", "d"),
				did("c"+id, user, "click", "b", "l"+id),
			)
		}
	}
	return events
}

// evaluate measures the scorers on a log of the events.
func evaluate(
	t *testing.T, events []ranker.Event, opt evaluation.Options, c evaluation.Scorers,
) *evaluation.Table {
	t.Helper()
	state := features.New(features.DefaultConfig())
	table, err := newTestSet(t, events, opt).Run(t.Context(), state, c)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTable(t *testing.T) {
	// 10 users with 13 lists each. Item b is new in the first 3 of the 130 lists and rare in the
	// next 7.
	table := evaluate(
		t,
		clickLog(10, 12),
		evaluation.Options{TestShare: 1, Prequential: true, K: 2},
		evaluation.Scorers{
			Models: []evaluation.Scorer{best, worst},
			Pairs:  []evaluation.Pair{{Scorer: "best", Against: "worst"}},
		},
	)
	for slice, n := range map[string]int{
		evaluation.AllLists:    130,
		evaluation.NewUsers:    10,
		evaluation.KnownUsers:  120,
		evaluation.LongHistory: 30,
		evaluation.NewItems:    3,
		evaluation.RareItems:   7,
	} {
		b, ok := table.Row("best", slice)
		if !ok || b.NDCG.N != n || b.NDCG.Mean != 1 || b.MRR.Mean != 1 || b.MAP.Mean != 1 ||
			b.HitRate.Mean != 1 || b.AUC.Mean != 1 || b.Baseline {
			t.Errorf("%s: %+v, want %d lists in the best order", slice, b, n)
		}
		w, _ := table.Row("worst", slice)
		if w.NDCG.Mean != 0 || w.MRR.Mean != 0.25 || w.MAP.Mean != 0 || w.HitRate.Mean != 0 ||
			w.AUC.Mean != 0 {
			t.Errorf("%s: %+v", slice, w)
		}
		if d, ok := table.Difference("best", "worst", slice); !ok || d.NDCG.Mean != 1 ||
			d.NDCG.N != n ||
			d.MRR.Mean != 0.75 || d.MRR.IsBounded() != (n >= 30) {
			t.Errorf("%s: difference %+v", slice, d)
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
			t.Errorf("diversity is %v, although nothing is known of the items", o.Diversity)
		}
	}
	if _, err := json.Marshal(table); err != nil {
		t.Errorf("a table cannot be encoded as JSON: %v", err)
	}
}

// A scorer's metrics do not depend on which other scorers are measured, not even those of random
// order.
func TestScorersAreIndependent(t *testing.T) {
	opt := evaluation.Options{TestShare: 1, Prequential: true, Seed: 3}
	alone := evaluate(t, clickLog(10, 5), opt, evaluation.Scorers{})
	beside := evaluate(
		t,
		clickLog(10, 5),
		opt,
		evaluation.Scorers{
			Baselines: []evaluation.Scorer{worst},
			Models:    []evaluation.Scorer{best},
		},
	)
	for _, row := range alone.Rows {
		got, ok := beside.Row(row.Scorer, row.Slice)
		if !ok || fmt.Sprint(got.NDCG, got.MRR) != fmt.Sprint(row.NDCG, row.MRR) ||
			got.NDCG.Mean != row.NDCG.Mean {
			t.Errorf("alone %+v, beside others %+v", row, got)
		}
	}
}

// A slice that contains every list or no list has no row.
func TestUninformativeSlicesAreLeftOut(t *testing.T) {
	table := evaluate(
		t,
		clickLog(10, 0),
		evaluation.Options{TestShare: 0.5, Prequential: true},
		evaluation.Scorers{Models: []evaluation.Scorer{best}},
	)
	for _, r := range table.Rows {
		if r.Slice == evaluation.NewUsers || r.Slice == evaluation.KnownUsers ||
			r.Slice == evaluation.LongHistory {
			t.Errorf("row %+v repeats all lists or contains none", r)
		}
	}
}

func TestDiversityByTags(t *testing.T) {
	var events []ranker.Event
	for id, tags := range map[string][]string{"a": {"x"}, "b": {"x", "y"}, "c": {"z"}, "d": nil} {
		events = append(
			events,
			ranker.Event{Kind: ranker.EventItem, ID: "i" + id, ItemID: id, Tags: tags},
		)
	}
	table := evaluate(
		t,
		append(events, clickLog(3, 0)...),
		evaluation.Options{TestShare: 1, K: 2},
		evaluation.Scorers{Models: []evaluation.Scorer{best}},
	)
	last := table.Overall[len(table.Overall)-1]
	if last.Diversity == nil || last.Diversity.Mean != 1 { // b and c share nothing
		t.Errorf("%+v", last)
	}
}

// A score that is not finite and a comparison with an unknown scorer are errors.
func TestInvalidScorers(t *testing.T) {
	constant := func(x float64) evaluation.Scorers {
		model := fixedScores{"constant", func(string) float64 { return x }}
		return evaluation.Scorers{Models: []evaluation.Scorer{model}}
	}
	unknown := []evaluation.Pair{{Scorer: "random", Against: "unknown"}}
	for name, c := range map[string]evaluation.Scorers{
		"NaN":            constant(math.NaN()),
		"infinite":       constant(math.Inf(1)),
		"unknown scorer": {Pairs: unknown},
	} {
		state := features.New(features.DefaultConfig())
		s := newTestSet(t, clickLog(2, 0), evaluation.Options{TestShare: 1})
		if _, err := s.Run(t.Context(), state, c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSelectionOfSlices(t *testing.T) {
	indices := evaluation.IndicesBySlice([]int{3, 40, 5, 60}, []evaluation.Slice[int]{
		{Name: "small", Contains: func(n int) bool { return n < 10 }},
		{Name: "all", Contains: func(int) bool { return true }},
		{Name: "none", Contains: func(int) bool { return false }},
	})
	for i, want := range [][]int{{0, 2}, {0, 1, 2, 3}, nil} {
		if !slices.Equal(indices[i], want) {
			t.Errorf("slice %d contains %v, want %v", i, indices[i], want)
		}
	}
	got := evaluation.SelectValues([]float64{.1, .2, .3, .4}, indices[0])
	if want := []float64{.1, .3}; !slices.Equal(got, want) {
		t.Errorf("selected %v, want %v", got, want)
	}
}

func TestDropNaN(t *testing.T) {
	values := []float64{math.NaN(), 1, math.NaN(), 0}
	if got := evaluation.DropNaN(values); !slices.Equal(got, []float64{1, 0}) {
		t.Errorf("%v without NaN is %v, want [1 0]", values, got)
	}
}

// One scorer is slightly better on every list. The two scorers' own intervals overlap, while the
// interval of the paired difference excludes zero.
func TestPairedDifferenceIsSharper(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	a, b := make([]float64, 500), make([]float64, 500)
	for i := range a {
		b[i] = rng.Float64()
		a[i] = b[i] + 0.005 + 0.01*rng.NormFloat64()
	}
	ia, err := stats.Bootstrap(a, 1)
	if err != nil {
		t.Fatal(err)
	}
	ib, err := stats.Bootstrap(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := stats.PairedBootstrap(a, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if ia.Low > ib.High || d.Low <= 0 || !near(d.Mean, ia.Mean-ib.Mean, 1e-12) {
		t.Errorf("%v against %v, difference %v", ia, ib, d)
	}
}
