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

// source returns a log of the events, which arrive one per second.
func source(events ...ranker.Event) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for i, e := range events {
				if e.Time == 0 {
					e.Time = int64(i+1) * 1000
				}
				if !yield(
					event.Record{Seq: uint64(i + 1), Arrival: int64(i+1) * 1000, Event: e},
					nil,
				) {
					return
				}
			}
		}
	}
}

func shown(id, user string, items ...string) ranker.Event {
	return ranker.Event{Kind: ranker.EventImpression, ID: id, UserID: user,
		Impression: &ranker.Impression{Items: items}}
}

func did(id, user, action, item, impression string) ranker.Event {
	return ranker.Event{
		Kind:         ranker.EventInteraction,
		ID:           id,
		UserID:       user,
		ItemID:       item,
		Action:       action,
		ImpressionID: impression,
	}
}

// spy is a scorer that records each request and the state's sequence at that moment.
type spy struct {
	state     *features.State
	requests  []string
	newUsers  []bool
	stateSeqs []uint64
}

func (s *spy) Name() string { return "spy" }

func (s *spy) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	s.requests = append(s.requests, c.Request.ID)
	s.newUsers = append(s.newUsers, c.NewUser)
	s.stateSeqs = append(s.stateSeqs, s.state.Seq())
	return make([]float64, len(c.Request.Candidates)), nil
}

// runSpy runs an evaluation with a spy as its only model.
func runSpy(t *testing.T, src replay.Source, opt evaluation.Options) (*evaluation.Table, *spy) {
	t.Helper()
	state := features.New(features.DefaultConfig())
	s := &spy{state: state}
	table, err := evaluation.Run(context.Background(), src, state, opt, s)
	if err != nil {
		t.Fatal(err)
	}
	return table, s
}

// smallLog has four lists of two users; numbers are sequences.
func smallLog() []ranker.Event {
	return []ranker.Event{
		shown("l1", "u", "a", "b"),            // 1
		did("c1", "u", "click", "b", "l1"),    // 2
		shown("l2", "u", "a", "b"),            // 3: never clicked
		shown("l3", "v", "b", "a", "b"),       // 4: an item twice
		shown("l4", "u", "a", "c"),            // 5
		did("c3", "v", "click", "a", "l3"),    // 6: a late click
		did("c4", "u", "purchase", "c", "l4"), // 7
		did("c5", "u", "click", "zzz", "l2"),  // 8: not an item of the list
	}
}

// Each list with a click is scored with the state before it. Lists without one are not scored.
func TestPrequential(t *testing.T) {
	table, s := runSpy(
		t,
		source(smallLog()...),
		evaluation.Options{TestShare: 1, Prequential: true},
	)
	if want := []string{"l1", "l3", "l4"}; !slices.Equal(s.requests, want) || table.Lists != 3 {
		t.Errorf("scored %v", s.requests)
	}
	if want := []uint64{0, 3, 4}; !slices.Equal(s.stateSeqs, want) {
		t.Errorf(
			"state at sequences %v, want %v: the state must not include the list",
			s.stateSeqs,
			want,
		)
	}
	if want := []bool{true, true, false}; !slices.Equal(s.newUsers, want) {
		t.Errorf("new users %v", s.newUsers)
	}
}

// Without Prequential the state freezes at the first scored list.
func TestFrozen(t *testing.T) {
	_, s := runSpy(t, source(smallLog()...), evaluation.Options{TestShare: 0.5})
	if want := []string{"l3", "l4"}; !slices.Equal(s.requests, want) {
		t.Errorf("scored %v", s.requests)
	}
	if want := []uint64{3, 3}; !slices.Equal(s.stateSeqs, want) {
		t.Errorf("state at sequences %v", s.stateSeqs)
	}
}

// recordingScorer keeps the scores of each list, by request id.
type recordingScorer struct {
	evaluation.Scorer
	seen map[string][]float64
}

func (n *recordingScorer) Score(ctx context.Context, c *replay.Example) ([]float64, error) {
	out, err := n.Scorer.Score(ctx, c)
	n.seen[c.Request.ID] = out
	return out, err
}

// Events after a list do not change its scores.
func TestLaterEventsDoNotLeak(t *testing.T) {
	scores := func(events []ranker.Event) map[string][]float64 {
		state := features.New(features.DefaultConfig())
		schema, err := scorer.PriorSchema(state.Config().Fields, nil)
		if err != nil {
			t.Fatal(err)
		}
		prior, err := scorer.NewPrior(schema, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ranker.New(
			ranker.Options{
				Features: stateReader{state},
				Models: scorer.SingleModel(
					&ranker.Model{Version: "prior", Schema: schema, Scorer: prior},
				),
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		n := &recordingScorer{evaluation.NewPipelineScorer("prior", p), map[string][]float64{}}
		_, err = evaluation.Run(
			t.Context(),
			source(events...),
			state,
			evaluation.Options{TestShare: 1, Prequential: true},
			n,
		)
		if err != nil {
			t.Fatal(err)
		}
		return n.seen
	}
	base := smallLog()
	before := scores(base)
	after := scores(
		append(
			slices.Clone(base),
			shown("l5", "w", "a", "b"),
			did("c6", "w", "click", "a", "l5"),
			did("c7", "w", "click", "b", "l5"),
		),
	)
	if len(before) != 3 {
		t.Fatalf("%d lists were scored", len(before))
	}
	for id, x := range before {
		if !slices.Equal(after[id], x) {
			t.Errorf("list %s: scores %v become %v with later events", id, x, after[id])
		}
	}
}

// stateReader lets a pipeline read a feature state.
type stateReader struct{ state *features.State }

func (r stateReader) Read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	return r.state.Read(q)
}

// The baselines' ranks of the last list: item "often" has more clicks because it was shown more,
// item "always" has a click for every impression.
func TestBaselines(t *testing.T) {
	var events []ranker.Event
	for i := range 20 {
		events = append(events, shown(fmt.Sprint("l", i), "u", "often"))
		if i%2 == 0 {
			events = append(
				events,
				did(fmt.Sprint("c", i), "u", "click", "often", fmt.Sprint("l", i)),
			)
		}
	}
	for i := range 5 {
		events = append(
			events,
			shown(fmt.Sprint("m", i), "u", "always"),
			did(fmt.Sprint("d", i), "u", "click", "always", fmt.Sprint("m", i)),
		)
	}
	events = append(
		events,
		shown("last", "v", "new", "often", "always"),
		did("e", "v", "click", "always", "last"),
	)
	table, _ := runSpy(t, source(events...), evaluation.Options{TestShare: 1 / 26.0})
	if table.Lists != 1 {
		t.Fatalf("%d lists were scored", table.Lists)
	}
	for name, want := range map[string]float64{
		"logged order": 1 / 3.0, "popularity": 1 / 2.0, "live click rate": 1,
	} {
		row, ok := table.Row(name, evaluation.AllLists)
		if !ok || !row.Baseline || row.MRR.Mean != want {
			t.Errorf("%s: %+v, want MRR %g", name, row, want)
		}
	}
	if table.Baseline != "live click rate" {
		t.Errorf("the best baseline is %s", table.Baseline)
	}
	random, _ := table.Row("spy", evaluation.AllLists)
	d, ok := table.Difference("spy", "live click rate", evaluation.AllLists)
	if !ok || d.MRR.Mean != random.MRR.Mean-1 {
		t.Errorf("a random scorer has MRR %v and difference %v", random.MRR, d.MRR)
	}
}

// A baseline that the log cannot feed is left out.
func TestBaselinesWithoutData(t *testing.T) {
	bare := []ranker.Event{
		did("a", "v", "click", "1", ""),
		did("b", "v", "click", "2", ""),
		did("c", "u", "click", "1", ""),
		did("d", "u", "click", "2", ""),
		did("e", "w", "click", "2", ""),
		did("f", "w", "click", "3", ""),
		did("g", "v", "click", "3", ""),
		did("h", "u", "click", "3", ""),
		did("i", "w", "click", "1", ""),
		did("j", "x", "click", "4", ""),
		did("k", "w", "click", "4", ""),
		did("l", "y", "click", "5", ""),
		did("m", "u", "click", "4", ""),
	}
	for name, c := range map[string]struct {
		events      []ranker.Event
		prequential bool
		want        []string
	}{
		"prequential": {
			smallLog(), true,
			[]string{"random", "logged order", "popularity", "live click rate", "spy"},
		},
		"frozen": {
			smallLog(), false,
			[]string{"random", "logged order", "popularity", "spy"},
		},
		"no impressions": {bare, true, []string{"random", "popularity", "spy"}},
	} {
		opt := evaluation.Options{TestShare: 1, Prequential: c.prequential}
		table, _ := runSpy(t, source(c.events...), opt)
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

// Without impressions, each interaction gives a list of its item and sampled negatives.
func TestLogWithoutImpressions(t *testing.T) {
	var events []ranker.Event
	for i := range 40 {
		title := "t"
		events = append(
			events,
			ranker.Event{
				Kind:   ranker.EventItem,
				ID:     fmt.Sprint("i", i),
				ItemID: fmt.Sprint(i),
				Title:  &title,
			},
		)
	}
	for i := range 20 {
		events = append(events, did(fmt.Sprint("a", i), "u", "click", fmt.Sprint(i%15), ""))
	}
	sizes := listSizes{}
	state := features.New(features.DefaultConfig())
	_, err := evaluation.Run(
		t.Context(),
		source(events...),
		state,
		evaluation.Options{TestShare: 1, Prequential: true, Negatives: 9},
		&sizes,
	)
	if err != nil {
		t.Fatal(err)
	}
	// The first interaction has no history, and the last five repeat an item.
	if len(sizes) != 14 || slices.Min(sizes) != 10 || slices.Max(sizes) != 10 {
		t.Errorf("lists of sizes %v, want 14 lists of 10", sizes)
	}
}

// listSizes is a scorer that records the sizes of the lists.
type listSizes []int

func (s *listSizes) Name() string { return "sizes" }

func (s *listSizes) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	*s = append(*s, len(c.Request.Candidates))
	return make([]float64, len(c.Request.Candidates)), nil
}

// A constant score measures like random order, wherever the clicked item is in the log.
func TestConstantScoreMeasuresLikeRandomOrder(t *testing.T) {
	var events []ranker.Event
	for i := range 2000 {
		events = append(
			events,
			shown(fmt.Sprint("l", i), "u", "a", "b", "c", "d"),
			did(fmt.Sprint("c", i), "u", "click", "a", fmt.Sprint("l", i)),
		)
	}
	table, _ := runSpy(t, source(events...), evaluation.Options{TestShare: 1, Prequential: true})
	for _, row := range table.Rows {
		if row.Scorer == "spy" && row.Slice == evaluation.AllLists {
			if want := (1 + 1.0/2 + 1.0/3 + 1.0/4) / 4; math.Abs(row.MRR.Mean-want) > 0.02 {
				t.Errorf("MRR %.3f, random order has %.3f", row.MRR.Mean, want)
			}
		}
	}
}

func TestInvalidOptions(t *testing.T) {
	state := features.New(features.DefaultConfig())
	for name, c := range map[string]struct {
		src replay.Source
		opt evaluation.Options
	}{
		"no share":  {source(smallLog()...), evaluation.Options{}},
		"too large": {source(smallLog()...), evaluation.Options{TestShare: 1.5}},
		"empty":     {source(), evaluation.Options{TestShare: 1}},
		"no clicks": {source(shown("1", "u", "a")), evaluation.Options{TestShare: 1}},
	} {
		if _, err := evaluation.Run(t.Context(), c.src, state, c.opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
