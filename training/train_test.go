package training_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/internal/demo"
	"relish/internal/onnxtest"
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

// logOf numbers events like a log. Each event arrives when it happens.
func logOf(events []ranker.Event) []event.Record {
	out := make([]event.Record, len(events))
	arrival := int64(0)
	for i, e := range events {
		arrival = max(arrival, e.Time)
		out[i] = event.Record{Seq: uint64(i + 1), Arrival: arrival, Event: e}
	}
	return out
}

// demoLog is the log of a small demo world.
var demoLog = sync.OnceValue(func() []event.Record {
	return logOf(slices.Collect(demo.New(demo.Options{Seed: 1, Users: 60, Lists: 900}).Events()))
})

func state() features.Config {
	cfg := features.DefaultConfig()
	cfg.Fields = []string{"tags", "kind", "author"}
	// The users of the tests' logs repeat themselves within minutes, without lists.
	cfg.DailyListed, cfg.DailyUnlisted = 1000, 1000
	return cfg
}

// inputs returns the inputs of a short training.
func inputs(t testing.TB, records []event.Record) training.Inputs {
	c := training.Config{
		Scorer:    training.ScorerConfig{Leaves: []int{7}, Rounds: 60},
		Negatives: training.NegativesConfig{Count: 9},
	}.Complete()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return training.Inputs{
		Source:   source(records),
		State:    state(),
		LightGBM: library(t),
		WorkDir:  t.TempDir(),
		Config:   c,
	}
}

// quick are signals that train fast, for tests of other things.
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
	rows, err := replay.ReadDataset(
		filepath.Join(in.WorkDir, training.DatasetFile),
		func(uint64) bool { return true },
	)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(
		a,
		b,
		func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) },
	)
}

// ndcg returns the mean NDCG@10 of the model and of each of its columns alone, over the lists from
// a sequence on.
func ndcg(
	t testing.TB,
	records []event.Record,
	model *ranker.Model,
	from uint64,
) (full float64, columns []float64) {
	t.Helper()
	log, err := replay.Scan(t.Context(), source(records), replay.Options{State: state()})
	if err != nil {
		t.Fatal(err)
	}
	lists := log.ClickedImpressions(from, math.MaxUint64)
	st := features.New(state())
	p, err := ranker.New(
		ranker.Options{
			Features: training.ReplayedState{State: st},
			Models:   scorer.SingleModel(model),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	columns = make([]float64, len(model.Schema.Columns()))
	rng := rand.New(rand.NewPCG(1, 1))
	err = log.Walk(
		t.Context(),
		source(records),
		st,
		lists,
		replay.WalkOptions{},
		func(c *replay.Example) error {
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
				return evaluation.NDCG(order, gains, 10) / float64(len(lists))
			}
			scores := make([]float64, m.N)
			if err := model.Scorer.Score(m, scores); err != nil {
				return err
			}
			full += measure(scores)
			for k := range columns {
				for i := range scores {
					if scores[i] = -1e9; m.Row(i)[k] == m.Row(i)[k] {
						scores[i] = float64(m.Row(i)[k])
					}
				}
				columns[k] += measure(scores)
			}
			return nil
		},
	)
	if err != nil || len(lists) < 100 {
		t.Fatalf("%d lists: %v", len(lists), err)
	}
	return full, columns
}

// The model trained on the demo's log ranks later lists better than any single signal alone. The
// training does not read the held-out lists.
func TestTrainedBeatsEverySingleSignal(t *testing.T) {
	in := inputs(t, demoLog())
	in.Holdout = 0.25
	out := train(t, in)
	for _, seq := range dataset(t, in).ListSeqs {
		if seq >= out.HoldoutStart {
			t.Fatalf("the list at %d is held out: the holdout begins at %d", seq, out.HoldoutStart)
		}
	}
	full, columns := ndcg(t, demoLog(), out.Model, out.HoldoutStart)
	// The columns of the residual GP are models of the user and the item that are fitted to the
	// same lists. On so few lists the trees may lose a little to them.
	for k, c := range out.Model.Schema.Columns() {
		if strings.HasPrefix(c.Name, "residual.") {
			if full < columns[k]-0.03 {
				t.Errorf("NDCG@10 %.3f; %s alone has %.3f", full, c.Name, columns[k])
			}
			columns[k] = 0
		}
	}
	best := slices.Index(columns, slices.Max(columns))
	t.Logf("NDCG@10 %.3f, %s %.3f", full, out.Model.Schema.Columns()[best].Name, columns[best])
	if full < columns[best]+0.01 {
		t.Errorf(
			"NDCG@10 %.3f; %s alone has %.3f",
			full,
			out.Model.Schema.Columns()[best].Name,
			columns[best],
		)
	}
	if out.Lists < 300 || out.Trees.Rounds < 2 || out.ValidationScore < 0.3 ||
		len(out.Stages) != 4 ||
		len(out.Reasons) != len(out.Model.Schema.Features()) {
		t.Errorf(
			"%d lists, %d rounds, validation %.3f, stages %v, %d reasons",
			out.Lists,
			out.Trees.Rounds,
			out.ValidationScore,
			out.Stages,
			len(out.Reasons),
		)
	}
	for _, m := range out.Model.Signals {
		for _, c := range m.Columns() {
			if !slices.ContainsFunc(
				out.Model.Schema.Columns(),
				func(col ranker.Column) bool { return col.Name == c },
			) {
				t.Errorf("no feature reads the signal's column %s", c)
			}
		}
	}
}

// The same log and seed give the same model; another seed gives another model.
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
		t.Error("the same log gave another dataset")
	}
	if string(a.Trees.Model) != string(b.Trees.Model) {
		t.Error("the same log gave another scorer")
	}
	if string(a.Trees.Model) == string(c.Trees.Model) {
		t.Error("another seed gave the same scorer")
	}
}

// A training on one processor that is held up all the time writes the same files as one that is
// not: nothing in a bundle depends on the speed of the machine.
func TestBundleDoesNotDependOnSpeed(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	once := func(processors int, hold time.Duration) (files map[string][]byte) {
		runtime.GOMAXPROCS(processors)
		in := inputs(t, demoLog()[:2400])
		in.Config.Scorer = training.DefaultConfig().Scorer
		in.Vectors, in.Backend = textVectors{}, onnxtest.Backend(t, processors)
		in.KeepTwoTower = true
		in.Progress = func(string, int, int) { time.Sleep(hold) }
		_, files, err := train(t, in).Bundle(t.Context(), in.TextSpec)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	fast, slow := once(4, 0), once(1, 5*time.Millisecond)
	if len(fast) < 8 || len(slow) != len(fast) {
		t.Errorf("%d and %d files, want all signals, the trees, the schema and the probe",
			len(fast), len(slow))
	}
	for name, data := range fast {
		if !bytes.Equal(data, slow[name]) {
			t.Errorf("%s depends on the speed of the training", name)
		}
	}
	if c := training.DefaultConfig(); c.TwoTower.Minutes != 0 || c.Finetune().TimeLimit != 0 {
		t.Error("a training has a time limit that nobody set")
	}
}

// A log without impressions is enough: lists are sampled for its interactions.
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
	out := train(t, in)
	rows := dataset(t, in)
	if slices.Max(rows.Positions) != -1 || slices.Max(rows.ListSizes) != 10 ||
		out.Lists != len(rows.ListSizes) {
		t.Errorf(
			"positions up to %d, lists of up to %d items, %d lists",
			slices.Max(rows.Positions),
			slices.Max(rows.ListSizes),
			out.Lists,
		)
	}
	for _, c := range out.Model.Schema.Columns() {
		if strings.Contains(c.Name, "rate") {
			t.Errorf("column %s is a rate, but the log has no impressions", c.Name)
		}
	}
}

// Exclude leaves out the signals, features and groups that it names.
func TestExclude(t *testing.T) {
	in := inputs(t, demoLog()[:2400])
	in.Config.Signals = quick
	in.Config.Scorer.Rounds = 2
	in.Exclude = []string{signals.KindLexical, signals.KindTokenOverlap, "user"}
	out := train(t, in)
	for _, c := range out.Model.Schema.Columns() {
		if strings.HasPrefix(c.Name, "lexical.") || strings.HasPrefix(c.Name, "overlap.") ||
			c.Group == "user" {
			t.Errorf("%s of group %s was excluded", c.Name, c.Group)
		}
	}
}

// A training that is cancelled at any stage ends with context.Canceled.
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
		if after > 4100 { // Walk checks the context every 4096 records
			t.Errorf("cancelled at %s: %d steps of progress came after that", stage, after)
		}
		cancel()
	}
}

func TestTrainingIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(in *training.Inputs)
		want   string
	}{
		"an empty log": {func(in *training.Inputs) { in.Source = source(nil) },
			"too little to train on: 0 usable lists, 50 needed. The log has 0 interactions of " +
				"0 users with 0 items, and 0 shown lists, 0 of them with a click"},
		"a short log": {func(in *training.Inputs) {
			in.Source, in.Holdout = source(demoLog()[:450]), 0.2
		}, "usable lists, 50 needed. Without its newest 20 %, which measure the result, the log"},
		"an unknown constraint": {func(in *training.Inputs) {
			in.Config.Monotone = map[string]int{"item.charm": 1}
		}, "train.monotone.item.charm"},
		"a feature of an action that the state does not count": {func(in *training.Inputs) {
			in.Config.Features = []ranker.Feature{
				{Name: "x", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "yawn"},
			}
		}, `needs "yawn", which the server does not count`},
		"a folder that cannot be created": {func(in *training.Inputs) {
			in.WorkDir = filepath.Join(libraryPath, "x")
		}, "not a directory"},
	} {
		in := inputs(t, demoLog()[:2400])
		in.Config.Signals = quick
		c.change(&in)
		if _, err := training.Train(t.Context(), in); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
