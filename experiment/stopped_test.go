package experiment_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relish/experiment"
	"relish/ranker"
)

// stoppable has an experiment with auto_stop whose users are all in the arm other.
const stoppable = `layers: [{name: l, experiments: [{name: x, auto_stop: guardrail,
  guardrails: [{metric: latency, margin: 0.1}],
  arms: [{name: control, weight: 0}, {name: other, weight: 1, text: false}]}]}]
`

// A stopped arm stays stopped after a restart. It runs again with another seed, without auto_stop,
// and after a promotion.
func TestStoppedArms(t *testing.T) {
	dir := t.TempDir()
	path, stopFile := filepath.Join(dir, "experiments.yaml"), filepath.Join(dir, "stopped.json")
	replace(t, path, stoppable)
	open := func() (*experiment.Watcher, error) {
		w, err := experiment.Open(t.Context(), path, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return w, w.LoadStoppedArms(stopFile)
	}
	w, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.StopArm("x", "other", "it is slow", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.StopArm("x", "nobody", "", time.Now()); err != nil || len(w.StoppedArms()) != 1 {
		t.Errorf("%v, %+v", err, w.StoppedArms())
	}
	if w, err = open(); err != nil {
		t.Fatal(err)
	}
	promoted, err := experiment.Promote([]byte(stoppable), "x", "other", "needed anyway")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, arm string }{
		{stoppable, "control"},
		{strings.Replace(stoppable, "name: x,", "name: x, seed: again,", 1), "other"},
		{strings.Replace(stoppable, "auto_stop: guardrail,", "", 1), "other"},
		{string(promoted), "other"},
		{stoppable, "control"},
	} {
		replace(t, path, c.text)
		if err := w.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		assignments, _ := w.Assign(&ranker.Request{User: "u"}, nil, noon)
		got, features := assignments[0], w.GrowthBook().Features
		problem := w.Status().Layers[0].Experiments[0].Arms[1].Problem
		stopped := c.arm == "control"
		if got.Arm.Name != c.arm || got.Forced != stopped ||
			strings.Contains(problem, "it is slow") != stopped || (len(features) == 0) != stopped {
			t.Errorf("%s: %+v, %q, %v", c.text, got, problem, features)
		}
	}
	if err := os.WriteFile(stopFile, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestAutoStopNeedsAReport(t *testing.T) {
	for add, want := range map[string]string{
		"mode: interleave":     "interleaving cannot measure guardrails",
		"hash_attribute: shop": "by user or session",
	} {
		text := strings.Replace(stoppable, "name: x,", "name: x, "+add+",", 1)
		_, err := experiment.Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", add, err)
		}
	}
}
