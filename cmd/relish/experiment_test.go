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

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
)

// exampleExperiments is the file that the documentation shows.
const exampleExperiments = "../../examples/experiments.yaml"

// arms returns the arms that the service gives a user.
func (s *service) arms(t *testing.T, user string) map[string]string {
	t.Helper()
	request := fmt.Sprintf(`{"user_id":%q,"candidates":["a","b","c"],"deadline_ms":10000}`, user)
	status, answer := s.post(t, "/recommend", request)
	if status != http.StatusOK {
		t.Fatalf("/recommend answers %d: %v", status, answer)
	}
	out := map[string]string{}
	for name, arm := range answer["experiments"].(map[string]any) {
		out[name] = arm.(string)
	}
	return out
}

// experimentsAnswer is what the tests read of GET /experiments.
type experimentsAnswer struct{ Version, Error string }

func (s *service) experiments(t *testing.T) (out experimentsAnswer) {
	t.Helper()
	_, body := s.get(t, "/experiments")
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// waitForExperiments waits until GET /experiments is as wanted.
func (s *service) waitForExperiments(t *testing.T, what string, ok func(experimentsAnswer) bool) {
	t.Helper()
	eventually(t, what, func() bool { return ok(s.experiments(t)) })
}

// TestServeExperiments serves the example on an empty data folder. The shares of users match the
// weights. Assignments stay the same over an invalid file and a restart. The log records them.
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
		"text-on-off control": .98 * .5, "text-on-off no-text": .98 * .5,
		"fresh-mix interleave":  .98 * .4,
		"diverse-lists control": .98 * .6 * .5 * .5, "diverse-lists diverse": .98 * .6 * .5 * .3,
		"diverse-lists very-diverse": .98 * .6 * .5 * .2,
	} {
		sd := math.Sqrt(n * share * (1 - share))
		if math.Abs(float64(counts[what])-n*share) > 4.5*sd {
			t.Errorf("%s: %d of %d users, want a share of %g", what, counts[what], n, share)
		}
	}
	if arms := s.arms(t, "qa-anna"); arms["diverse-lists"] != "very-diverse" {
		t.Errorf("the forced user gets %v, want very-diverse", arms)
	}
	version := s.experiments(t).Version

	write(strings.ReplaceAll(string(good), "weight: 0.5", "weight: 1.5"))
	s.waitForExperiments(t, "an invalid file is refused", func(e experimentsAnswer) bool {
		return strings.Contains(e.Error, "the weights add up to") && e.Version == version
	})
	if got := s.arms(t, "u1"); !maps.Equal(got, before["u1"]) {
		t.Errorf("after an invalid file, the user gets %v, before %v", got, before["u1"])
	}
	s.stop(t)

	write(string(good))
	s = serve(t, args...)
	for user, want := range before {
		if got := s.arms(t, user); !maps.Equal(got, want) {
			t.Fatalf("after a restart, %s gets %v, before %v", user, got, want)
		}
	}
	if e := s.experiments(t); e.Version != version || e.Error != "" {
		t.Errorf("%+v", e)
	}
	write("layers: []\n")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.waitForExperiments(t, "the new file is in effect",
		func(e experimentsAnswer) bool { return e.Version != version })
	if got := s.arms(t, "u1"); len(got) != 0 {
		t.Errorf("without experiments, a user gets %v", got)
	}
	s.stop(t)
	checkLoggedArms(t, data, before, version)
}

// checkLoggedArms compares the impressions of the users' first rankings with their assignments.
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
		if !maps.Equal(e.Impression.Experiments, want[e.UserID]) ||
			e.Impression.ExperimentsVersion != version || len(e.Impression.Fallback) != 0 {
			t.Fatalf("%s: %v under %s, answered %v", e.UserID, e.Impression.Experiments,
				e.Impression.ExperimentsVersion, want[e.UserID])
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
	if len(seen) != len(want) {
		t.Errorf("%d users have impressions, want %d", len(seen), len(want))
	}
	// The items a, b and c have no text, so switching text off exposes nobody. Their order can
	// differ.
	if exposed["text-on-off"] != 0 || exposed["diverse-lists"] < 200 ||
		exposed["fresh-mix"] != interleaved || interleaved < 300 {
		t.Errorf("exposed users: %v; interleaved lists: %d", exposed, interleaved)
	}
}

// SIGHUP does not end a service that has no experiments file.
func TestHangupWithoutExperiments(t *testing.T) {
	s := serve(t, "--data", t.TempDir(), "--no-text")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.arms(t, "u1")
	s.stop(t)
}
