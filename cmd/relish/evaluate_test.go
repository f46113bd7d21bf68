package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/internal/app"
)

// mustFail runs a command that must fail with the exit status, and returns what it said.
func mustFail(t *testing.T, status int, args ...string) string {
	t.Helper()
	out, err := relish(t, args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		t.Fatalf("relish %s: %v, want exit status %d: %s", strings.Join(args, " "), err, status, out)
	}
	return string(out)
}

func evaluateJSON(t *testing.T, args ...string) (e app.Evaluation) {
	t.Helper()
	if err := json.Unmarshal([]byte(output(t, append([]string{"evaluate", "--json"}, args...)...)), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// A bundle is measured on what it has not seen, and the experiments train their own.
func TestEvaluate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	t.Setenv("RELISH_CONFIG", filepath.Join(t.TempDir(), "relish.yaml")) // fewer matchers and trees: the test is of the measuring
	if err := os.WriteFile(os.Getenv("RELISH_CONFIG"), []byte("train: {matchers: [text, content], blend: {leaves: [7], rounds: 60}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "demo", "--data", dir)
	var trained struct{ Version string }
	if err := json.Unmarshal([]byte(output(t, "train", "--data", dir, "--holdout", "0.1", "--json")), &trained); err != nil {
		t.Fatal(err)
	}
	bundle := []string{"--data", dir, "--bundle", trained.Version}

	t.Run("what was held out is accepted exactly", func(t *testing.T) {
		e := evaluateJSON(t, append(bundle, "--last", "0.1")...)
		row, ok := e.Row("bundle", "all")
		if !ok || row.NDCG.N == 0 || e.InSample || e.Model != trained.Version {
			t.Errorf("%+v", e)
		}
		if chance, _ := e.Row("random", "all"); row.NDCG.Low <= chance.NDCG.High {
			t.Errorf("the bundle reached %v, chance %v", row.NDCG, chance.NDCG)
		}
		if _, ok := e.Difference("bundle", "bundle without text", "all"); !ok {
			t.Errorf("the worth of the text is not told")
		}
		if _, ok := e.Row("text only", "all"); !ok {
			t.Errorf("text only is no baseline")
		}
	})
	t.Run("a list more is refused", func(t *testing.T) {
		args := append(bundle, "--last", "0.1004") // of 3,000
		if out := mustFail(t, 1, append([]string{"evaluate"}, args...)...); !strings.Contains(out, trained.Version) || !strings.Contains(out, "--in-sample") {
			t.Errorf("it says %s", out)
		}
		if out := output(t, append([]string{"evaluate", "--in-sample"}, args...)...); !strings.Contains(out, "IN SAMPLE") || !strings.Contains(out, "CALIBRATION ERROR") {
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
		if want := []string{"random", "text only", "item counters", "trained", "trained without text"}; !slices.Equal(scorers, want) {
			t.Errorf("measured %v", scorers)
		}
		if d, ok := e.Difference("item counters", "text only", "all"); !ok || d.NDCG.High >= 0 {
			t.Errorf("item counters are better than text by %v", d.NDCG)
		}
		counters, _ := e.Row("item counters", "all")
		if chance, _ := e.Row("random", "all"); counters.NDCG.High < chance.NDCG.Low || counters.NDCG.Low > chance.NDCG.High {
			t.Errorf("counters that know nothing reach %v, chance %v", counters.NDCG, chance.NDCG)
		}
	})
	t.Run("ablation", func(t *testing.T) {
		out := output(t, "evaluate", "--data", dir, "--last", "0.2", "--ablate", "text")
		for _, want := range []string{"trained without text", "paired differences"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing: %s", want, out)
			}
		}
		if out := mustFail(t, 1, "evaluate", "--data", dir, "--ablate", "nonsense"); !strings.Contains(out, "item.kind") {
			t.Errorf("it does not say what there is: %s", out)
		}
	})
}

// What machines read keeps its shape.
func TestEvaluateJSON(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	var v any
	if err := json.Unmarshal([]byte(output(t, "evaluate", "--data", dir, "--no-text", "--last", "0.5", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	collectPaths(v, "", paths)
	want, err := os.ReadFile("testdata/evaluate.shape")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(slices.Sorted(maps.Keys(paths)), "\n") + "\n"; got != string(want) {
		t.Errorf("the shape is\n%s", got)
	}
}

// collectPaths notes the path of every value with its type.
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

func TestEvaluateUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"a share of all items":     {"--hide-items", "1"},
		"a negative share":         {"--hide-items", "-0.1"},
		"two experiments":          {"--hide-items", "0.2", "--ablate", "text"},
		"a bundle beside its own":  {"--ablate", "text", "--bundle", "prior"},
		"in sample without bundle": {"--hide-items", "0.2", "--in-sample"},
	} {
		t.Run(name, func(t *testing.T) {
			mustFail(t, 2, append([]string{"evaluate", "--data", t.TempDir(), "--no-text"}, args...)...)
		})
	}
}
