package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"relish/features/ingest"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
)

// safeBuffer is what a running process prints.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was printed so far.
func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func demoEvents(seed uint64) []ranker.Event {
	return slices.Collect(demo.New(demo.Options{Seed: seed, Users: 40, Lists: 900}).Events())
}

// Where there is nothing to learn from, training says so and leaves everything as it is.
func TestNothingToLearn(t *testing.T) {
	all := demoEvents(1)
	keep := func(keep func(e *ranker.Event) bool) []ranker.Event {
		var out []ranker.Event
		for _, e := range all {
			if keep(&e) {
				out = append(out, e)
			}
		}
		return out
	}
	for name, events := range map[string][]ranker.Event{
		"no events":   nil,
		"items only":  keep(func(e *ranker.Event) bool { return e.Kind == ranker.EventItem }),
		"no clicks":   keep(func(e *ranker.Event) bool { return e.Kind != ranker.EventInteraction }),
		"one item":    keep(func(e *ranker.Event) bool { return e.Kind == ranker.EventInteraction && e.ItemID == "film-001" }),
		"a few lists": all[:400],
	} {
		data := t.TempDir()
		if events != nil {
			data = importEvents(t, events)
		}
		cmd := relish(t, "train", "--data", data, "--no-text")
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "let the service run on") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if versions, err := bundle.Versions(filepath.Join(data, "bundles")); err != nil || len(versions) > 0 {
			t.Errorf("%s: bundles %v, %v", name, versions, err)
		}
	}
}

// One user's log can be learned from: he leaves nobody else to train the matchers on.
func TestOneUser(t *testing.T) {
	events := demoEvents(1)
	for i := range events {
		if events[i].UserID != "" {
			events[i].UserID = "only"
		}
	}
	data := importEvents(t, events)
	if out, dir := train(t, data, "--config", quickConfig(t)); out.Version == "" {
		t.Errorf("%+v", out)
	} else if _, err := bundle.Verify(dir); err != nil {
		t.Error(err)
	}
}

// A training on labels that are wrong is not activated, unless it is forced, and then everybody can read why.
func TestGateKeepsTheOldOne(t *testing.T) {
	events, config := demoEvents(3), quickConfig(t)
	rng := rand.New(rand.NewPCG(1, 1))
	shown := map[string][]string{}
	lists := 0
	for i := range events {
		e := &events[i]
		if e.Kind == ranker.EventImpression {
			lists++
			shown[e.ID] = e.Impression.Items
		}
		if items := shown[e.ImpressionID]; items != nil && lists < 720 {
			e.ItemID = items[rng.IntN(len(items))] // the newest lists' labels stay as they are
		}
	}
	data := importEvents(t, events)
	out, dir := train(t, data, "--config", config, "--holdout", "0.2")
	if out.Activated || !strings.HasPrefix(out.Reason, "worse than prior") {
		t.Fatalf("%+v", out)
	}
	if active, err := bundle.Active(filepath.Dir(dir)); err != nil || active != "prior" {
		t.Errorf("%s is active, %v", active, err)
	}
	out, dir = train(t, data, "--config", config, "--holdout", "0.2", "--force", "a drill")
	m, err := bundle.ReadManifest(dir)
	if err != nil || !out.Activated || !strings.Contains(m.Forced, "a drill") {
		t.Errorf("%+v, %+v, %v", out, m, err)
	}
	history, err := os.ReadFile(filepath.Join(data, "bundles", "activations"))
	if err != nil || !bytes.Contains(history, []byte("a drill")) || !readCard(t, dir).Gate.Forced {
		t.Errorf("activations %s, %v", history, err)
	}
}

// The same log and seed make the same bundle, but for the report, which tells times.
func TestSameBytes(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	_, a := train(t, data, "--config", config)
	_, b := train(t, data, "--config", config)
	entries, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "report.") || e.Name() == bundle.ManifestFile {
			continue
		}
		x, errX := os.ReadFile(filepath.Join(a, e.Name()))
		y, errY := os.ReadFile(filepath.Join(b, e.Name()))
		if errX != nil || errY != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs (%v, %v)", e.Name(), errX, errY)
		}
	}
	yaml, err := os.ReadFile(filepath.Join(a, bundle.SchemaFile))
	if err != nil || !strings.Contains(string(yaml), "# popularity: the log has") {
		t.Errorf("features.yaml gives no reasons: %s", yaml)
	}
}

// Without anything new there is nothing to train on, and that is no failure.
func TestNothingNew(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	if first, _ := train(t, data, "--config", config, "--force", "the first one", "--from", "previous"); !first.Activated {
		t.Fatalf("%+v: without a bundle, previous trains anew", first)
	}
	if again, _ := train(t, data, "--config", config, "--from", "previous"); again.Version != "" || again.Activated || !strings.Contains(again.Reason, "0 new lists") {
		t.Errorf("%+v", again)
	}
}

// Logs of several replicas are learned from as one.
func TestSeveralLogs(t *testing.T) {
	var parts [2][]ranker.Event
	for _, e := range demoEvents(1) {
		at := 0
		if e.UserID != "" && e.UserID[len(e.UserID)-1]%2 == 1 {
			at = 1
		}
		parts[at] = append(parts[at], e)
	}
	a, b := importEvents(t, parts[0]), importEvents(t, parts[1])
	_, dir := train(t, a, "--log", b, "--config", quickConfig(t))
	m, err := bundle.Verify(dir)
	if err != nil || len(m.Data.Logs) != 2 || m.Data.Logs[0].Last.Seq != uint64(len(parts[0])) || m.Data.Logs[1].Last.Seq != uint64(len(parts[1])) {
		t.Errorf("%+v, %v", m, err)
	}
}

// A training that is killed, at whatever moment, leaves the old bundle active and whole, and nothing in the way of the next.
func TestKilledTraining(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	start := time.Now()
	old, _ := train(t, data, "--config", config, "--force", "the first one")
	whole := time.Since(start)
	root := filepath.Join(data, "bundles")
	for round := range 6 {
		cmd := relish(t, "train", "--data", data, "--no-text", "--config", config)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Float64() * 1.2 * float64(whole)))
		_ = cmd.Process.Kill()
		killed := cmd.Wait() != nil
		active, err := bundle.Active(root)
		if err != nil || killed && active != old.Version && !isNewest(t, root, active) {
			t.Fatalf("round %d: %s is active, %v", round, active, err)
		}
		versions, err := bundle.Versions(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range versions {
			if _, err := bundle.Verify(filepath.Join(root, v)); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		old.Version = active
	}
	if out, _ := train(t, data, "--config", config); out.Version == "" {
		t.Errorf("%+v", out)
	}
}

// isNewest reports whether the version is the last that was written: the kill came after the training was done.
func isNewest(t *testing.T, root, version string) bool {
	t.Helper()
	versions, err := bundle.Versions(root)
	return err == nil && len(versions) > 0 && versions[0] == version
}

// Two trainings of one folder do not meet.
func TestOneTrainingAtATime(t *testing.T) {
	data := importEvents(t, demoEvents(1))
	unlock, err := ingest.Lock(filepath.Join(data, "bundles", ".training"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	out, err := relish(t, "train", "--data", data, "--no-text").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another training") || !strings.Contains(string(out), fmt.Sprint(os.Getpid())) {
		t.Errorf("%v: %s", err, out)
	}
}

// Training again and again leaves out the turns in which nothing came, and ends when it is told to.
func TestTrainEvery(t *testing.T) {
	data := importEvents(t, demoEvents(1))
	cmd := relish(t, "train", "--data", data, "--no-text", "--config", quickConfig(t), "--every", "50ms", "--json")
	var stdout, stderr safeBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(stderr.String(), "nothing new"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s%s", stdout.String(), stderr.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.String())
	}
	if n := strings.Count(stdout.String(), `"version"`); n != 1 {
		t.Errorf("%d trainings of one log: %s", n, stdout.String())
	}
}

// The gate prefers lists that the running bundle has not learned from, and says so where there are too few.
func TestGateAsksForUnseenLists(t *testing.T) {
	events, config := demoEvents(1), quickConfig(t)
	early := len(events) * 3 / 4
	data := importEvents(t, events[:early])
	train(t, data, "--config", config, "--force", "the first one")
	const flattered = "the active bundle was trained on some of these lists"
	if out, _ := train(t, data, "--config", config); !strings.Contains(out.Reason, flattered) {
		t.Errorf("the same log: %+v", out)
	}
	file := filepath.Join(t.TempDir(), "more.jsonl")
	if err := os.WriteFile(file, ndjson(t, events[early:]), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--no-text", "--strict", file)
	out, dir := train(t, data, "--config", config)
	if strings.Contains(out.Reason, flattered) {
		t.Errorf("with new lists: %+v", out)
	}
	fresh := 0
	for _, e := range events[early:] {
		if e.Kind == ranker.EventImpression {
			fresh++
		}
	}
	if parts := readCard(t, dir).Parts; len(parts) != 2 || parts[1].Lists > fresh {
		t.Errorf("%d lists are new, parts %+v", fresh, parts)
	}
}

// Old bundles are removed, but for those that are needed.
func TestOldBundlesAreRemoved(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	first, _ := train(t, data, "--config", config, "--force", "the first one")
	for range 2 {
		train(t, data, "--config", config, "--keep", "2")
	}
	versions, err := bundle.Versions(filepath.Join(data, "bundles"))
	if err != nil || len(versions) != 2 || versions[1] != first.Version {
		t.Errorf("left are %v, active is %s, %v", versions, first.Version, err)
	}
}
