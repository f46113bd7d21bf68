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

const stoppable = `layers: [{name: l, experiments: [{name: x, auto_stop: guardrail, guardrails: [{metric: latency, margin: 0.1}],
  arms: [{name: control, weight: 0}, {name: other, weight: 1, text: false}]}]}]
`

// A stop outlives the keeper, and ends where a person decides otherwise: by a seed, without auto_stop, by promotion.
func TestStopsEnd(t *testing.T) {
	dir := t.TempDir()
	path, stops := filepath.Join(dir, "experiments.yaml"), filepath.Join(dir, "stopped.json")
	replace(t, path, stoppable)
	open := func() (*experiment.Watcher, error) {
		k, err := experiment.Open(path, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return k, k.LoadStoppedArms(stops)
	}
	k, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.StopArm("x", "other", "it hurts", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.StopArm("x", "nobody", "", time.Now()); err != nil || len(k.StoppedArms()) != 1 {
		t.Errorf("%v, %+v", err, k.StoppedArms())
	}
	if k, err = open(); err != nil {
		t.Fatal(err)
	}
	promoted, err := experiment.Promote([]byte(stoppable), "x", "other", "all the same")
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
		if err := k.Reload(); err != nil {
			t.Fatal(err)
		}
		trials, _ := k.Assign(&ranker.Request{User: "u"}, nil, noon)
		status, payload := k.Status().Layers[0].Experiments[0].Arms[1].Problem, k.GrowthBook().Features
		stopped := c.arm == "control"
		if trials[0].Arm.Name != c.arm || trials[0].Forced != stopped || strings.Contains(status, "it hurts") != stopped || len(payload) == 1 == stopped {
			t.Errorf("%s: %+v, %q, %v", c.text, trials[0], status, payload)
		}
	}
	if err := os.WriteFile(stops, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestAutoStopNeedsAReport(t *testing.T) {
	for add, want := range map[string]string{"mode: interleave": "tells of no guardrail", "hash_attribute: shop": "by user or session"} {
		text := strings.Replace(stoppable, "name: x,", "name: x, "+add+",", 1)
		if _, err := experiment.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", add, err)
		}
	}
}
