package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
)

const exampleExperiments = "../../examples/experiments.yaml"

// arms returns the arms that the service gives a user.
func (s *service) arms(t *testing.T, user string) map[string]string {
	t.Helper()
	status, answer := s.post(t, "/recommend", fmt.Sprintf(`{"user_id":%q,"candidates":["a","b","c"]}`, user))
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	out := map[string]string{}
	for name, arm := range answer["experiments"].(map[string]any) {
		out[name] = arm.(string)
	}
	return out
}

type experimentsAnswer struct{ Version, Error string }

func (s *service) experiments(t *testing.T) (out experimentsAnswer) {
	t.Helper()
	resp, err := http.Get(s.url + "/experiments")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// waitForExperiments waits until GET /experiments is as wanted.
func (s *service) waitForExperiments(t *testing.T, what string, ok func(experimentsAnswer) bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok(s.experiments(t)) {
			return
		}
	}
	t.Fatalf("not within 30 seconds: %s; %+v", what, s.experiments(t))
}

// The example on an empty data folder: shares match the weights, arms outlive a restart and a bad file, and
// the log says what reports need.
func TestServeExperiments(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "experiments.yaml")
	good, err := os.ReadFile(exampleExperiments)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(string(good))
	args := []string{"--data", data, "--no-text", "--experiments", file}
	s := serve(t, args...)
	const n = 1000
	before, counts := map[string]map[string]string{}, map[string]int{}
	for i := range n {
		user := fmt.Sprint("u", i)
		before[user] = s.arms(t, user)
		for name, arm := range before[user] {
			counts[name+" "+arm]++
		}
	}
	for what, share := range map[string]float64{
		"text-on-off control": .98 * .5, "text-on-off no-text": .98 * .5, "fresh-mix interleave": .98 * .4,
		"diverse-lists control": .98 * .6 * .5 * .5, "diverse-lists diverse": .98 * .6 * .5 * .3, "diverse-lists very-diverse": .98 * .6 * .5 * .2,
	} {
		if sd := math.Sqrt(n * share * (1 - share)); math.Abs(float64(counts[what])-n*share) > 4.5*sd {
			t.Errorf("%s: %d of %d users, want a share of %g", what, counts[what], n, share)
		}
	}
	if arms := s.arms(t, "qa-anna"); arms["diverse-lists"] != "very-diverse" {
		t.Errorf("the tester gets %v", arms)
	}
	version := s.experiments(t).Version

	write(strings.ReplaceAll(string(good), "weight: 0.5", "weight: 1.5"))
	s.waitForExperiments(t, "a bad file is refused", func(e experimentsAnswer) bool {
		return strings.Contains(e.Error, "the weights add up to") && e.Version == version
	})
	if got := s.arms(t, "u1"); !maps.Equal(got, before["u1"]) {
		t.Errorf("after a bad file: %v, before %v", got, before["u1"])
	}
	s.stop(t)

	write(string(good))
	s = serve(t, args...)
	for user, want := range before {
		if got := s.arms(t, user); !maps.Equal(got, want) {
			t.Fatalf("%s after a restart: %v, before %v", user, got, want)
		}
	}
	if e := s.experiments(t); e.Version != version || e.Error != "" {
		t.Errorf("%+v", e)
	}
	write("layers: []\n")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.waitForExperiments(t, "the new file is taken", func(e experimentsAnswer) bool { return e.Version != version })
	if got := s.arms(t, "u1"); len(got) != 0 {
		t.Errorf("arms of no experiment: %v", got)
	}
	s.stop(t)
	checkLoggedArms(t, data, before, version)
}

// checkLoggedArms reads the impressions of the users' first rankings.
func checkLoggedArms(t *testing.T, data string, want map[string]map[string]string, version string) {
	t.Helper()
	seen, exposed, interleaved := map[string]bool{}, map[string]int{}, 0
	for rec, err := range eventlog.Read(ingest.LogDir(data), 1) {
		if err != nil {
			t.Fatal(err)
		}
		e := rec.Event
		if e.Kind != ranker.EventImpression || seen[e.UserID] || want[e.UserID] == nil {
			continue
		}
		seen[e.UserID] = true
		if !maps.Equal(e.Impression.Experiments, want[e.UserID]) || e.Impression.ExperimentsVersion != version || len(e.Impression.Fallback) != 0 {
			t.Fatalf("%s: %v under %s, answered %v", e.UserID, e.Impression.Experiments, e.Impression.ExperimentsVersion, want[e.UserID])
		}
		for _, name := range e.Impression.Exposed {
			exposed[name]++
		}
		if in := e.Impression.Interleaved; in != nil {
			interleaved++
			if in.Experiment != "fresh-mix" || len(in.Teams) != len(e.Impression.Items) {
				t.Fatalf("%+v", in)
			}
		}
	}
	// Nothing is known of the items a, b and c: there is a list to reorder, and no text to be seen.
	if len(seen) != len(want) || exposed["text-on-off"] != 0 || exposed["diverse-lists"] < 200 || exposed["fresh-mix"] != interleaved || interleaved < 300 {
		t.Errorf("%d users logged, exposed %v, %d interleaved", len(seen), exposed, interleaved)
	}
}

func TestExperimentCheck(t *testing.T) {
	out := output(t, "experiment", "check", exampleExperiments)
	for _, want := range []string{"text-on-off", "very-diverse", "running", "holdout 2 %"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("layers:\n- name: l\n  experimnts: []\nholdout: {share: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := relish(t, "experiment", "check", bad)
	text, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), `line 3: unknown key "experimnts"`) || !strings.Contains(string(text), "line 4: holdout.share") {
		t.Errorf("%v: %s", err, text)
	}
	// serve refuses to start with it, and says the same.
	cmd = relish(t, "serve", "--data", t.TempDir(), "--no-text", "--addr", "127.0.0.1:0", "--experiments", bad)
	if text, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(text), "experimnts") {
		t.Errorf("%v: %s", err, text)
	}
}
