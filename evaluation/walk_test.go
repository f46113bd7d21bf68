package evaluation_test

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/replay"
)

// source makes a log of the events, arriving one a second.
func source(events ...event.Event) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for i, e := range events {
				if e.Time == 0 {
					e.Time = int64(i+1) * 1000
				}
				if !yield(event.Record{Seq: uint64(i + 1), Arrival: int64(i+1) * 1000, Event: e}, nil) {
					return
				}
			}
		}
	}
}

func shown(id, user string, items ...string) event.Event {
	return event.Event{Kind: event.EventImpression, ID: id, UserID: user, Shown: items}
}

func did(id, user, action, item, impression string) event.Event {
	return event.Event{Kind: event.EventInteraction, ID: id, UserID: user, ItemID: item, Action: action, ImpressionID: impression}
}

// spy notes what it is asked, and what the state knew at that moment.
type spy struct {
	state *features.State
	cases []string
	news  []bool
	seqs  []uint64
}

func (s *spy) Name() string { return "spy" }

func (s *spy) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	s.cases = append(s.cases, c.Request.ID)
	s.news = append(s.news, c.NewUser)
	s.seqs = append(s.seqs, s.state.Seq())
	return make([]float64, len(c.Request.Candidates)), nil
}

func evaluator(t *testing.T, src replay.Source, opt evaluation.Options) (*evaluation.Table, *spy) {
	t.Helper()
	state := features.New(features.DefaultConfig())
	s := &spy{state: state}
	table, err := evaluation.Run(context.Background(), src, state, opt, s)
	if err != nil {
		t.Fatal(err)
	}
	return table, s
}

func log() []event.Event {
	return []event.Event{
		shown("l1", "u", "a", "b"),            // 1
		did("c1", "u", "click", "b", "l1"),    // 2
		shown("l2", "u", "a", "b"),            // 3: never clicked
		shown("l3", "v", "b", "a", "b"),       // 4: an item twice
		shown("l4", "u", "a", "c"),            // 5
		did("c3", "v", "click", "a", "l3"),    // 6: late
		did("c4", "u", "purchase", "c", "l4"), // 7
		did("c5", "u", "click", "zzz", "l2"),  // 8: of an item that was not in the list
	}
}

// Each list is scored with what was known before it, and only lists with a click are.
func TestPrequential(t *testing.T) {
	table, s := evaluator(t, source(log()...), evaluation.Options{TestShare: 1, Prequential: true})
	if want := []string{"l1", "l3", "l4"}; !slices.Equal(s.cases, want) || table.Lists != 3 {
		t.Errorf("scored %v", s.cases)
	}
	if want := []uint64{0, 3, 4}; !slices.Equal(s.seqs, want) {
		t.Errorf("state at sequences %v, want %v: nothing of a list or after it", s.seqs, want)
	}
	if want := []bool{true, true, false}; !slices.Equal(s.news, want) {
		t.Errorf("new users %v", s.news)
	}
}

// Without Prequential the state stands still from the first scored list on.
func TestFrozen(t *testing.T) {
	_, s := evaluator(t, source(log()...), evaluation.Options{TestShare: 0.5})
	if want := []string{"l3", "l4"}; !slices.Equal(s.cases, want) {
		t.Errorf("scored %v", s.cases)
	}
	if want := []uint64{3, 3}; !slices.Equal(s.seqs, want) {
		t.Errorf("state at sequences %v", s.seqs)
	}
}

// noter notes what a scorer made of each list.
type noter struct {
	evaluation.Scorer
	seen map[string][]float64
}

func (n *noter) Score(ctx context.Context, c *replay.Example) ([]float64, error) {
	out, err := n.Scorer.Score(ctx, c)
	n.seen[c.Request.ID] = out
	return out, err
}

// What happens after a list changes nothing about it.
func TestNoLeak(t *testing.T) {
	scores := func(events []event.Event) map[string][]float64 {
		state := features.New(features.DefaultConfig())
		schema, err := scorer.PriorSchema(state.Config().Fields, nil)
		if err != nil {
			t.Fatal(err)
		}
		prior, err := scorer.NewPrior(schema, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ranker.New(ranker.Options{Features: reading{state}, Models: scorer.SingleModel(&ranker.Model{Version: "prior", Schema: schema, Scorer: prior})})
		if err != nil {
			t.Fatal(err)
		}
		n := &noter{evaluation.NewPipelineScorer("prior", p), map[string][]float64{}}
		if _, err := evaluation.Run(t.Context(), source(events...), state, evaluation.Options{TestShare: 1, Prequential: true}, n); err != nil {
			t.Fatal(err)
		}
		return n.seen
	}
	base := log()
	before := scores(base)
	after := scores(append(slices.Clone(base), shown("l5", "w", "a", "b"), did("c6", "w", "click", "a", "l5"), did("c7", "w", "click", "b", "l5")))
	if len(before) != 3 {
		t.Fatalf("%d lists were scored", len(before))
	}
	for id, x := range before {
		if !slices.Equal(after[id], x) {
			t.Errorf("%s: %v became %v", id, x, after[id])
		}
	}
}

// reading lets a pipeline read a state.
type reading struct{ state *features.State }

func (r reading) Read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	return r.state.Read(q)
}

// What the plain scorers say of the last list: one item was clicked often because it was shown often, another one always.
func TestBaselines(t *testing.T) {
	var events []event.Event
	for i := range 20 {
		events = append(events, shown(fmt.Sprint("l", i), "u", "often"))
		if i%2 == 0 {
			events = append(events, did(fmt.Sprint("c", i), "u", "click", "often", fmt.Sprint("l", i)))
		}
	}
	for i := range 5 {
		events = append(events, shown(fmt.Sprint("m", i), "u", "always"), did(fmt.Sprint("d", i), "u", "click", "always", fmt.Sprint("m", i)))
	}
	events = append(events, shown("last", "v", "new", "often", "always"), did("e", "v", "click", "always", "last"))
	table, _ := evaluator(t, source(events...), evaluation.Options{TestShare: 1 / 26.0})
	if table.Lists != 1 {
		t.Fatalf("%d lists were scored", table.Lists)
	}
	for name, want := range map[string]float64{"logged order": 1 / 3.0, "popularity": 1 / 2.0, "live click rate": 1} {
		if row, ok := table.Row(name, evaluation.AllLists); !ok || !row.Baseline || row.MRR.Mean != want {
			t.Errorf("%s: %+v, want MRR %g", name, row, want)
		}
	}
	if table.Baseline != "live click rate" {
		t.Errorf("the best is %s", table.Baseline)
	}
	chance, _ := table.Row("spy", evaluation.AllLists)
	if d, ok := table.Difference("spy", "live click rate", evaluation.AllLists); !ok || d.MRR.Mean != chance.MRR.Mean-1 {
		t.Errorf("chance, %v, is better by %v", chance.MRR, d.MRR)
	}
}

// A baseline that a log cannot feed is not there.
func TestBaselinesThatKnowNothing(t *testing.T) {
	bare := []event.Event{did("a", "u", "click", "1", ""), did("b", "u", "click", "2", ""), did("c", "u", "click", "3", ""), did("d", "v", "click", "4", "")}
	for name, c := range map[string]struct {
		events []event.Event
		opt    evaluation.Options
		want   []string
	}{
		"live":   {log(), evaluation.Options{TestShare: 1, Prequential: true}, []string{"random", "logged order", "popularity", "live click rate", "spy"}},
		"frozen": {log(), evaluation.Options{TestShare: 1}, []string{"random", "logged order", "popularity", "spy"}},
		"bare":   {bare, evaluation.Options{TestShare: 1, Prequential: true}, []string{"random", "popularity", "spy"}},
	} {
		table, _ := evaluator(t, source(c.events...), c.opt)
		var got []string
		for _, r := range table.Rows {
			if r.Slice == evaluation.AllLists {
				got = append(got, r.Scorer)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A log of interactions alone is scored by the next item among sampled ones.
func TestBareLog(t *testing.T) {
	var events []event.Event
	for i := range 40 {
		title := "t"
		events = append(events, event.Event{Kind: event.EventItem, ID: fmt.Sprint("i", i), ItemID: fmt.Sprint(i), Title: &title})
	}
	for i := range 20 {
		events = append(events, did(fmt.Sprint("a", i), "u", "click", fmt.Sprint(i%15), ""))
	}
	sizes := sizer{}
	state := features.New(features.DefaultConfig())
	if _, err := evaluation.Run(t.Context(), source(events...), state, evaluation.Options{TestShare: 1, Prequential: true, Negatives: 9}, &sizes); err != nil {
		t.Fatal(err)
	}
	// The first interaction has no history before it, the last five repeat.
	if len(sizes) != 14 || slices.Min(sizes) != 10 || slices.Max(sizes) != 10 {
		t.Errorf("lists of %v", sizes)
	}
}

type sizer []int

func (s *sizer) Name() string { return "sizes" }

func (s *sizer) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	*s = append(*s, len(c.Request.Candidates))
	return make([]float64, len(c.Request.Candidates)), nil
}

// A scorer that knows nothing measures like chance, wherever the clicked item stands in the file.
func TestAConstantScoreIsChance(t *testing.T) {
	var events []event.Event
	for i := range 2000 {
		events = append(events, shown(fmt.Sprint("l", i), "u", "a", "b", "c", "d"), did(fmt.Sprint("c", i), "u", "click", "a", fmt.Sprint("l", i)))
	}
	table, _ := evaluator(t, source(events...), evaluation.Options{TestShare: 1, Prequential: true})
	for _, row := range table.Rows {
		if row.Scorer == "spy" && row.Slice == evaluation.AllLists {
			if want := (1 + 1.0/2 + 1.0/3 + 1.0/4) / 4; math.Abs(row.MRR.Mean-want) > 0.02 {
				t.Errorf("MRR %.3f, chance is %.3f", row.MRR.Mean, want)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	state := features.New(features.DefaultConfig())
	for name, c := range map[string]struct {
		src replay.Source
		opt evaluation.Options
	}{
		"no share":  {source(log()...), evaluation.Options{}},
		"too large": {source(log()...), evaluation.Options{TestShare: 1.5}},
		"empty":     {source(), evaluation.Options{TestShare: 1}},
		"no clicks": {source(shown("1", "u", "a")), evaluation.Options{TestShare: 1}},
	} {
		if _, err := evaluation.Run(t.Context(), c.src, state, c.opt); err == nil {
			t.Errorf("%s: evaluated", name)
		}
	}
}
