package evaluation_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/replay"
)

func isHidden(id string) bool { return strings.HasPrefix(id, "h") }

// coldLog makes a log in which hidden items h0 to h4 and others o0 to o4 are shown and clicked.
func coldLog(rng *rand.Rand, clicks func(user int, item string) bool) (events []ranker.Event) {
	for i := range 60 {
		user, id := rng.IntN(6), fmt.Sprint("l", i)
		var list []string
		for _, k := range rng.Perm(5)[:3] {
			list = append(list, fmt.Sprint("h", k), fmt.Sprint("o", k))
		}
		events = append(events, shown(id, fmt.Sprint("u", user), list...))
		for _, item := range list {
			if clicks(user, item) {
				events = append(
					events,
					did(fmt.Sprint("c", i, item), fmt.Sprint("u", user), "click", item, id),
				)
			}
		}
	}
	return events
}

// newTestSet builds a test set of a log with these events.
func newTestSet(
	t *testing.T, events []ranker.Event, opt evaluation.Options,
) *evaluation.TestSet {
	t.Helper()
	s, err := evaluation.NewTestSet(t.Context(), source(events...), features.DefaultConfig(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hiddenSpy is a scorer that checks what is known of hidden items.
type hiddenSpy struct {
	t      *testing.T
	state  *features.State
	schema *ranker.Schema
	seen   []string
}

func (s *hiddenSpy) Name() string { return "spy" }

func (s *hiddenSpy) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	for i, cand := range c.Request.Candidates {
		if !isHidden(cand.ID) || !cand.ColdStart {
			s.t.Errorf("%s is ranked; as a new item: %t", cand.ID, cand.ColdStart)
		}
		if s.state.ItemState(cand.ID) != nil {
			s.t.Errorf("the state knows hidden item %s", cand.ID)
		}
		s.seen = append(s.seen, fmt.Sprint(cand.ID, c.Gains[i]))
	}
	state, err := s.state.Read(&ranker.FeatureQuery{User: c.Request.User, Schema: s.schema})
	if err != nil {
		return nil, err
	}
	for _, r := range state.Recent {
		s.seen = append(s.seen, r.Item)
		if isHidden(r.Item) {
			s.t.Errorf("hidden item %s is in the history", r.Item)
		}
	}
	return make([]float64, len(c.Request.Candidates)), nil
}

// Behaviour around hidden items reaches neither training nor scoring, and only hidden items are
// ranked.
func TestHiddenItemsDoNotLeak(t *testing.T) {
	others := func(user int, item string) bool { return (user+int(item[1]))%3 == 0 }
	clicks, err := ranker.NewSchema([]ranker.Feature{
		{Name: "clicks", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var training [2][]event.Record
	var seen [2][]string
	for k := range 2 {
		rng := rand.New(rand.NewPCG(1, 1))
		events := coldLog(rng, func(user int, item string) bool {
			// Hidden items behave differently in the two logs, the others do not.
			return !isHidden(item) && others(user, item) ||
				isHidden(item) && (int(item[1])+k)%2 == 0
		})
		state := features.New(features.DefaultConfig())
		opt := evaluation.Options{TestShare: 0.5, Prequential: true, IsHidden: isHidden}
		p := newTestSet(t, events, opt)
		for rec := range p.TrainingLog()() {
			imp := rec.Event.Impression
			if rec.Seq >= p.From || isHidden(rec.Event.ItemID) ||
				imp != nil && slices.ContainsFunc(imp.Items, isHidden) {
				t.Errorf("training sees %+v", rec)
			}
			if rec.Event.Kind != ranker.EventUser {
				rec.Seq, rec.Arrival, rec.Event.Time = 0, 0, 0 // shifted by what was removed
				training[k] = append(training[k], rec)
			}
		}
		spy := &hiddenSpy{t: t, state: state, schema: clicks}
		scorers := evaluation.Scorers{Models: []evaluation.Scorer{spy}}
		table, err := p.Run(t.Context(), state, scorers)
		if err != nil {
			t.Fatal(err)
		}
		if len(table.Rows) == 0 || table.Rows[0].Scorer != "random" ||
			table.Rows[1].Scorer != "spy" {
			t.Errorf("rows %+v", table.Rows)
		}
		seen[k] = spy.seen
	}
	if !reflect.DeepEqual(training[0], training[1]) || len(training[0]) == 0 {
		t.Error("behaviour around hidden items changes the training log")
	}
	if len(seen[0]) == 0 || slices.Equal(seen[0], seen[1]) {
		t.Error("the labels are equal, so the test proves nothing")
	}
}

// A logged answer with hidden items keeps the data of the other items, in their order.
func TestHiddenItemsInAnAnswer(t *testing.T) {
	e := shown("l1", "u", "o1", "h1", "o2")
	e.Impression.Scores, e.Impression.Propensity = []float64{1, 2, 3}, []float64{0.5, 0.25, 1}
	e.Impression.Served, e.Impression.MatrixHash = true, 7
	events := []ranker.Event{
		e,
		did("c1", "u", "click", "h1", "l1"),
		shown("l2", "u", "h1", "h2"),
		did("c2", "u", "click", "h2", "l2"),
	}
	p := newTestSet(t, events, evaluation.Options{TestShare: 0.5, IsHidden: isHidden})
	for rec := range p.TrainingLog()() {
		got := rec.Event.Impression
		if got != nil && (!slices.Equal(got.Items, []string{"o1", "o2"}) ||
			!slices.Equal(got.Scores, []float64{1, 3}) ||
			!slices.Equal(got.Propensity, []float64{0.5, 1}) || got.Served || got.MatrixHash != 0) {
			t.Errorf("%+v", got)
		}
	}
	if !slices.Equal(events[0].Impression.Items, []string{"o1", "h1", "o2"}) {
		t.Error("the log itself was changed")
	}
	opt := evaluation.Options{TestShare: 0.5, IsHidden: func(id string) bool { return id == "h2" }}
	_, err := evaluation.NewTestSet(t.Context(), source(events...), features.DefaultConfig(), opt)
	if err == nil || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("no list has two hidden items: %v", err)
	}
}

func TestSampleItems(t *testing.T) {
	a, b := evaluation.SampleItems(0.2, 1), evaluation.SampleItems(0.2, 2)
	hidden, both := 0, 0
	for i := range 10_000 {
		id := fmt.Sprint("item-", i)
		if a(id) {
			if hidden++; b(id) {
				both++
			}
		}
		if evaluation.SampleItems(1, 1)(id) != true || evaluation.SampleItems(0, 1)(id) != false {
			t.Fatalf("%s: a share of 1 must select it and a share of 0 must not", id)
		}
	}
	if hidden < 1800 || hidden > 2200 || both < 300 || both > 500 {
		t.Errorf("%d of 10,000 are hidden, %d of these with another seed too; "+
			"want about 2,000 and 400", hidden, both)
	}
}

// schema has one feature of each sort that the experiments distinguish.
func schema(t *testing.T) *ranker.Schema {
	t.Helper()
	s, err := ranker.NewSchema([]ranker.Feature{
		{Name: "clicks", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
		{Name: "rate", Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "click"},
		{
			Name:   "genre.rate",
			Kind:   ranker.KindRate,
			Scope:  ranker.ScopeField,
			Field:  "genre",
			Action: "click",
		},
		{Name: "price", Kind: ranker.KindNumber, Field: "price"},
		{Name: "text.mean", Kind: ranker.KindSignal, Column: "text.mean"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// recordingTrainer records what it is asked to train.
type recordingTrainer struct {
	schema  *ranker.Schema
	names   []string
	without [][]string
}

func (f *recordingTrainer) train(
	_ context.Context,
	name string,
	_ replay.Source,
	without []string,
) (evaluation.Scorer, *ranker.Schema, error) {
	f.names, f.without = append(f.names, name), append(f.without, without)
	return fixedScores{name, func(string) float64 { return 0 }}, f.schema, nil
}

func TestAblate(t *testing.T) {
	p := newTestSet(t, clickLog(3, 3), evaluation.Options{TestShare: 0.5})
	f := &recordingTrainer{schema: schema(t)}
	names := []string{"text", "price", "behaviour", signals.KindResidualGP}
	c, err := evaluation.Ablate(t.Context(), p, names, f.train)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{nil, {"text"}, {"price"}, {"behaviour"}, {"residual"}}
	if !reflect.DeepEqual(f.without, want) {
		t.Errorf("trained without %v, want %v", f.without, want)
	}
	pair := evaluation.Pair{
		Scorer: evaluation.FullModel, Against: evaluation.AblatedModel("price"),
	}
	if len(c.Models) != 5 || len(c.Pairs) != 4 || c.Pairs[1] != pair {
		t.Errorf("%+v", c)
	}
	for _, names := range [][]string{{"nonsense"}, {"text", "text"}} {
		if _, err := evaluation.Ablate(t.Context(), p, names, f.train); err == nil ||
			!strings.Contains(err.Error(), names[0]) {
			t.Errorf("%v: %v", names, err)
		}
	}
}

func TestColdItems(t *testing.T) {
	p := newTestSet(t, clickLog(3, 3), evaluation.Options{TestShare: 0.5})
	f := &recordingTrainer{schema: schema(t)}
	c, err := evaluation.ColdItems(t.Context(), p, f.train)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		evaluation.FullModel,
		evaluation.CountersOnly,
		evaluation.AblatedModel(evaluation.TextGroup),
	}
	if !slices.Equal(f.names, want) || len(c.Models) != 3 {
		t.Fatalf("trained %v", f.names)
	}
	want = append(signals.Kinds(), "genre.rate", "price", "text.mean")
	if !slices.Equal(f.without[1], want) {
		t.Errorf("the counters model is trained without %v, want %v", f.without[1], want)
	}
}

// The text-only model ranks items like the user's history first and scores 0 without a history.
func TestTextOnly(t *testing.T) {
	m, err := evaluation.TextOnlyModel()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		history [][]float32
		want    []float64
	}{
		"known user": {[][]float32{{1, 0}}, []float64{0, 0.6, 0}}, // the third has no text
		"new user":   {nil, []float64{0, 0, 0}},
	} {
		req := &ranker.Request{Candidates: make([]ranker.Candidate, 3)}
		in := &ranker.SignalInput{
			Request: req,
			State: &ranker.RequestState{
				Recent:  make([]ranker.Interaction, len(c.history)),
				Columns: make([]float32, 3),
			},
			ItemVectors:   [][]float32{{0, 1}, {0.6, 0.8}, nil},
			RecentVectors: c.history,
		}
		block := make([]float32, 3*len(m.Signals[0].Columns()))
		if err := m.Signals[0].Compute(t.Context(), in, block); err != nil {
			t.Fatal(err)
		}
		matrix := ranker.Assemble(m.Schema, req, in.State, m.Signals, [][]float32{block})
		got := make([]float64, 3)
		if err := m.Scorer.Score(matrix, got); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			parts := make([]float64, 1)
			base, err := m.Scorer.Explain(matrix, i, parts)
			if math.Abs(got[i]-c.want[i]) > 1e-6 || base+parts[0] != got[i] || err != nil {
				t.Errorf("%s: %v, want %v, explained by %v", name, got, c.want, parts)
			}
		}
	}
}
