package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/internal/app"
)

// evaluateJSON runs relish evaluate --json.
func evaluateJSON(t *testing.T, args ...string) (e app.Evaluation) {
	t.Helper()
	out := output(t, append([]string{"evaluate", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEvaluate measures a bundle on lists that it has not seen. The experiments with hidden items
// and without features train their own models.
func TestEvaluate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	config := filepath.Join(t.TempDir(), "relish.yaml")
	t.Setenv("RELISH_CONFIG", config)
	// Few signals and trees train fast; a good model is not needed here.
	text := "train: {signals: [text, content_prior], scorer: {leaves: [7], rounds: 60}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "demo", "--data", dir)
	var trained struct{ Version string }
	result := output(t, "train", "--data", dir, "--holdout", "0.1", "--json")
	if err := json.Unmarshal([]byte(result), &trained); err != nil {
		t.Fatal(err)
	}
	bundle := []string{"--data", dir, "--bundle", trained.Version}

	t.Run("exactly the held-out lists", func(t *testing.T) {
		e := evaluateJSON(t, append(bundle, "--last", "0.1")...)
		row, ok := e.Row("bundle", "all")
		if !ok || row.NDCG.N == 0 || e.InSample || e.Model != trained.Version {
			t.Errorf("%+v", e)
		}
		if chance, _ := e.Row("random", "all"); row.NDCG.Low <= chance.NDCG.High {
			t.Errorf("NDCG of the bundle is %v, of a random order %v", row.NDCG, chance.NDCG)
		}
		if _, ok := e.Difference("bundle", "bundle without text", "all"); !ok {
			t.Error("the difference with and without text is missing")
		}
		if _, ok := e.Row("text only", "all"); !ok {
			t.Error("the baseline text only is missing")
		}
	})
	t.Run("one list more is refused", func(t *testing.T) {
		args := append(bundle, "--last", "0.1004") // of 3,000
		out := mustFail(t, 1, append([]string{"evaluate"}, args...)...)
		if !strings.Contains(out, trained.Version) || !strings.Contains(out, "--in-sample") {
			t.Errorf("the error is %s", out)
		}
		out = output(t, append([]string{"evaluate", "--in-sample"}, args...)...)
		if !strings.Contains(out, "IN SAMPLE") || !strings.Contains(out, "CALIBRATION ERROR") {
			t.Errorf("the table is %s", out)
		}
	})
	t.Run("cold items", func(t *testing.T) {
		e := evaluateJSON(t, "--data", dir, "--last", "0.5", "--hide-items", "0.3")
		var scorers []string
		for _, r := range e.Rows {
			if r.Slice == "all" {
				scorers = append(scorers, r.Scorer)
			}
		}
		want := []string{"random", "text only", "item counters", "trained", "trained without text"}
		if !slices.Equal(scorers, want) {
			t.Errorf("measured %v, want %v", scorers, want)
		}
		if d, ok := e.Difference("item counters", "text only", "all"); !ok || d.NDCG.High >= 0 {
			t.Errorf("on hidden items, counters are better than text by %v", d.NDCG)
		}
		counters, _ := e.Row("item counters", "all")
		chance, _ := e.Row("random", "all")
		if counters.NDCG.High < chance.NDCG.Low || counters.NDCG.Low > chance.NDCG.High {
			t.Errorf("counters without data have the NDCG %v, a random order %v", counters.NDCG,
				chance.NDCG)
		}
	})
	t.Run("ablation", func(t *testing.T) {
		out := output(t, "evaluate", "--data", dir, "--last", "0.2", "--ablate", "text")
		for _, want := range []string{"trained without text", "paired differences"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing: %s", want, out)
			}
		}
		out = mustFail(t, 2, "evaluate", "--data", dir, "--ablate", "nonsense")
		if !strings.Contains(out, `called "nonsense"; there are behaviour, content_prior, `) {
			t.Errorf("the error does not list the names: %s", out)
		}
	})
}

// TestTrainThenEvaluate follows the loop of the documentation. Right after a training on the whole
// log, evaluate measures in sample and says so. As soon as there are new lists, it measures on
// these. A log whose end was cut off is reported.
func TestTrainThenEvaluate(t *testing.T) {
	events, config := demoEvents(1), quickConfig(t)
	early := len(events) * 93 / 100 // fewer than a tenth of the lists come later
	data := importEvents(t, events[:early])
	trained, _ := train(t, data, "--config", config, "--force", "a test")
	e := evaluateJSON(t, "--data", data, "--no-text")
	if !e.InSample || e.Model != trained.Version || !strings.Contains(e.Note, "too good") ||
		e.Last != 0.1 || e.Lists == 0 {
		t.Errorf("right after the training: %+v", e)
	}
	table := output(t, "evaluate", "--data", data, "--no-text")
	if !strings.Contains(table, "IN SAMPLE") || !strings.Contains(table, "Note: ") {
		t.Errorf("the table does not say what it measures: %s", table)
	}
	args := []string{"evaluate", "--data", data, "--no-text", "--last", "0.1"}
	if out := mustFail(t, 1, args...); !strings.Contains(out, "--in-sample") {
		t.Errorf("a part that the bundle knows: %s", out)
	}

	file := filepath.Join(t.TempDir(), "later.jsonl")
	if err := os.WriteFile(file, ndjson(t, events[early:]), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--no-text", file)
	e = evaluateJSON(t, "--data", data, "--no-text")
	if e.InSample || e.Last != 0 || e.Lists < 30 || !strings.Contains(e.Note, trained.Version) {
		t.Errorf("with new lists: %+v", e)
	}

	segments, err := filepath.Glob(filepath.Join(data, "log", "*.rlog"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("the log has the files %v: %v", segments, err)
	}
	// Without this file the log looks as after a crash: its end may be missing.
	if err := os.Remove(filepath.Join(data, "log.highwater")); err != nil {
		t.Fatal(err)
	}
	newest := segments[len(segments)-1]
	if info, err := os.Stat(newest); err != nil || os.Truncate(newest, info.Size()-3) != nil {
		t.Fatal(err)
	}
	out := output(t, "doctor", "--data", data, "--no-text")
	if !strings.Contains(out, "incomplete") {
		t.Errorf("doctor does not report the cut: %s", out)
	}
	_, dir := train(t, data, "--config", config)
	if page, err := os.ReadFile(filepath.Join(dir, "report.html")); err != nil ||
		!strings.Contains(string(page), "not a complete record") {
		t.Errorf("the model card does not report the cut: %v", err)
	}
}

// TestEvaluateJSON compares the paths and types of the JSON output with testdata/evaluate.shape,
// because programs read them.
func TestEvaluateJSON(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	var v any
	out := output(t, "evaluate", "--data", dir, "--no-text", "--last", "0.5", "--json")
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	collectPaths(v, "", paths)
	want, err := os.ReadFile("testdata/evaluate.shape")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(slices.Sorted(maps.Keys(paths)), "\n") + "\n"; got != string(want) {
		t.Errorf("the JSON has the paths\n%s", got)
	}
}

// collectPaths adds the path of every value with its type to out.
func collectPaths(v any, at string, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			collectPaths(x, at+"."+k, out)
		}
	case []any:
		for _, x := range v {
			collectPaths(x, at+"[]", out)
		}
	default:
		out[fmt.Sprintf("%s %T", strings.TrimPrefix(at, "."), v)] = true
	}
}
