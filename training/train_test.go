package training_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/ranker/signals"
	"relish/training"
	"relish/training/gbdt"
	"relish/training/replay"
)

const libraryPath = "../.cache/lightgbm/lib_lightgbm.so"

var opened = sync.OnceValues(func() (*gbdt.Library, error) { return gbdt.Open(libraryPath) })

func library(t testing.TB) *gbdt.Library {
	t.Helper()
	lib, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

func source(records []event.Record) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// logOf numbers events as a log does; they arrive when they happen.
func logOf(events []ranker.Event) []event.Record {
	out := make([]event.Record, len(events))
	arrival := int64(0)
	for i, e := range events {
		arrival = max(arrival, e.Time)
		out[i] = event.Record{Seq: uint64(i + 1), Arrival: arrival, Event: e}
	}
	return out
}

// demoLog is a small demo world's log.
var demoLog = sync.OnceValue(func() []event.Record {
	return logOf(slices.Collect(demo.New(demo.Options{Seed: 1, Users: 60, Lists: 900}).Events()))
})

func state() features.Config {
	cfg := features.DefaultConfig()
	cfg.Fields = []string{"tags", "kind", "author"}
	return cfg
}

// inputs are those of a short training.
func inputs(t testing.TB, records []event.Record) training.Inputs {
	c := training.Config{Scorer: training.ScorerConfig{Leaves: []int{7}, Rounds: 60}, Negatives: training.NegativesConfig{Count: 9}}.Complete()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return training.Inputs{Source: source(records), State: state(), Library: library(t), WorkDir: t.TempDir(), Config: c}
}

// quick are matchers that train in no time, for tests of something else.
var quick = []string{signals.KindCooccurrence, signals.KindLexical, signals.KindTokenOverlap}

func train(t testing.TB, in training.Inputs) *training.Trained {
	t.Helper()
	out, err := training.Train(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func dataset(t testing.TB, in training.Inputs) *replay.Rows {
	t.Helper()
	rows, err := replay.ReadDataset(filepath.Join(in.WorkDir, training.DatasetFile), func(uint64) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// ndcg are the mean NDCG@10 of the model, and of each of its columns by itself, over the lists from a sequence on.
func ndcg(t testing.TB, records []event.Record, model *ranker.Model, from uint64) (ours float64, columns []float64) {
	t.Helper()
	log, err := replay.Scan(t.Context(), source(records), replay.Options{State: state()})
	if err != nil {
		t.Fatal(err)
	}
	picks := log.ClickedImpressions(from, math.MaxUint64)
	st := features.New(state())
	p, err := ranker.New(ranker.Options{Features: training.ReplayedState{State: st}, Models: scorer.SingleModel(model)})
	if err != nil {
		t.Fatal(err)
	}
	columns = make([]float64, len(model.Schema.Columns()))
	rng := rand.New(rand.NewPCG(1, 1))
	err = log.Walk(t.Context(), source(records), st, picks, replay.WalkOptions{}, func(c *replay.Example) error {
		c.Request.Deadline = replay.OfflineDeadline
		m, _, err := p.Matrix(t.Context(), model, c.Request)
		if err != nil {
			return err
		}
		gains := make([]float64, m.N)
		for i, g := range c.Gains {
			gains[i] = float64(g)
		}
		measure := func(scores []float64) float64 {
			order, err := evaluation.Order(scores, rng)
			if err != nil {
				t.Fatal(err)
			}
			return evaluation.NDCG(order, gains, 10) / float64(len(picks))
		}
		scores := make([]float64, m.N)
		if err := model.Scorer.Score(m, scores); err != nil {
			return err
		}
		ours += measure(scores)
		for k := range columns {
			for i := range scores {
				if scores[i] = -1e9; m.Row(i)[k] == m.Row(i)[k] {
					scores[i] = float64(m.Row(i)[k])
				}
			}
			columns[k] += measure(scores)
		}
		return nil
	})
	if err != nil || len(picks) < 100 {
		t.Fatalf("%d lists: %v", len(picks), err)
	}
	return ours, columns
}

// The demo's log makes a model that ranks later lists better than any of its columns by itself, and a hidden part is
// not looked at.
func TestTrainedBeatsEverySingleSignal(t *testing.T) {
	in := inputs(t, demoLog())
	in.Holdout = 0.25
	out := train(t, in)
	for _, seq := range dataset(t, in).ListSeqs {
		if seq >= out.HoldoutStart {
			t.Fatalf("the list at %d is of the part that was left out, from %d on", seq, out.HoldoutStart)
		}
	}
	ours, columns := ndcg(t, demoLog(), out.Model, out.HoldoutStart)
	best := slices.Index(columns, slices.Max(columns))
	t.Logf("NDCG@10 %.3f, %s %.3f", ours, out.Model.Schema.Columns()[best].Name, columns[best])
	if ours < columns[best]+0.01 {
		t.Errorf("NDCG@10 %.3f; %s alone has %.3f", ours, out.Model.Schema.Columns()[best].Name, columns[best])
	}
	if out.Lists < 300 || out.Trees.Rounds < 2 || out.ValidationScore < 0.3 || len(out.Stages) != 4 || len(out.Reasons) != len(out.Model.Schema.Features()) {
		t.Errorf("%d lists, %d rounds, validation %.3f, stages %v, %d reasons", out.Lists, out.Trees.Rounds, out.ValidationScore, out.Stages, len(out.Reasons))
	}
	for _, m := range out.Model.Signals {
		for _, c := range m.Columns() {
			if !slices.ContainsFunc(out.Model.Schema.Columns(), func(col ranker.Column) bool { return col.Name == c }) {
				t.Errorf("no feature reads the matcher's column %s", c)
			}
		}
	}
}

// The same log and seed give the same model, and another seed another one.
func TestTrainingIsRepeatable(t *testing.T) {
	records := demoLog()[:2400]
	once := func(seed uint64) (*training.Trained, *replay.Rows) {
		in := inputs(t, records)
		in.Config.Seed, in.Config.Scorer.Rounds = seed, 20
		return train(t, in), dataset(t, in)
	}
	a, rows := once(1)
	b, again := once(1)
	c, _ := once(2)
	if !sameBits(rows.Cells, again.Cells) || !slices.Equal(rows.Gains, again.Gains) {
		t.Error("the same log made another dataset")
	}
	if string(a.Trees.Model) != string(b.Trees.Model) {
		t.Error("the same log made another blend")
	}
	if string(a.Trees.Model) == string(c.Trees.Model) {
		t.Error("another seed made the same blend")
	}
}

// A log of interactions alone trains as well, on lists that are made from them.
func TestTrainingWithoutImpressions(t *testing.T) {
	var events []ranker.Event
	for _, r := range demoLog() {
		if e := r.Event; e.Kind != ranker.EventImpression {
			e.ImpressionID = ""
			events = append(events, e)
		}
	}
	in := inputs(t, logOf(events))
	in.Config.Scorer.Rounds = 10
	position := true // there are no places to learn from
	in.Config.Scorer.Position = &position
	out := train(t, in)
	rows := dataset(t, in)
	if slices.Max(rows.Positions) != -1 || slices.Max(rows.ListSizes) != 10 || out.Lists != len(rows.ListSizes) {
		t.Errorf("places up to %d, lists of up to %d, %d of them", slices.Max(rows.Positions), slices.Max(rows.ListSizes), out.Lists)
	}
	for _, c := range out.Model.Schema.Columns() {
		if strings.Contains(c.Name, "rate") {
			t.Errorf("%s: a rate without impressions", c.Name)
		}
	}
}

// Without leaves out what it names.
func TestWithout(t *testing.T) {
	in := inputs(t, demoLog()[:2400])
	in.Config.Signals = quick
	in.Config.Scorer.Rounds = 2
	in.Exclude = []string{signals.KindLexical, signals.KindTokenOverlap, "user"}
	out := train(t, in)
	for _, c := range out.Model.Schema.Columns() {
		if strings.HasPrefix(c.Name, "terms.") || strings.HasPrefix(c.Name, "words.") || c.Group == "user" {
			t.Errorf("%s of group %s was left out", c.Name, c.Group)
		}
	}
}

// A training that is cancelled at any stage ends, and says so.
func TestCancelledTrainingEnds(t *testing.T) {
	for _, stage := range []string{"start", "signals", "replay", "scorer"} {
		ctx, cancel := context.WithCancel(t.Context())
		in := inputs(t, demoLog()[:2400])
		in.Config.Signals = quick
		in.Config.Scorer.Rounds = 10_000
		after := 0
		in.Progress = func(s string, _, _ int) {
			if ctx.Err() != nil {
				after++
			}
			if s == stage {
				cancel()
			}
		}
		if stage == "start" {
			cancel()
		}
		if _, err := training.Train(ctx, in); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %s: %v", stage, err)
		}
		if after > 4100 { // Walk looks every 4096 records
			t.Errorf("cancelled at %s: %d steps were made after that", stage, after)
		}
		cancel()
	}
}

func TestTrainingIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(in *training.Inputs)
		want   string
	}{
		"an empty log":          {func(in *training.Inputs) { in.Source = source(nil) }, "0 lists"},
		"a short log":           {func(in *training.Inputs) { in.Source = source(demoLog()[:450]) }, "needs 50 at least"},
		"an unknown constraint": {func(in *training.Inputs) { in.Config.Monotone = map[string]int{"item.charm": 1} }, "train.monotone.item.charm"},
		"features nobody counts": {func(in *training.Inputs) {
			in.Config.Features = []ranker.Feature{{Name: "x", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "yawn"}}
		}, `"yawn" of state.actions`},
		"a folder that cannot be": {func(in *training.Inputs) { in.WorkDir = filepath.Join(libraryPath, "x") }, "not a directory"},
	} {
		in := inputs(t, demoLog()[:2400])
		in.Config.Signals = quick
		c.change(&in)
		if _, err := training.Train(t.Context(), in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
