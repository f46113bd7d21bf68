package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"relish/features/ingest"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
)

// demoEvents returns the catalogue and 900 simulated ranking lists of 40 users.
func demoEvents(seed uint64) []ranker.Event {
	return slices.Collect(demo.New(demo.Options{Seed: seed, Users: 40, Lists: 900}).Events())
}

// TestNothingToLearn trains on logs without enough examples. Training fails, says what to do, and
// writes no bundle.
func TestNothingToLearn(t *testing.T) {
	all := demoEvents(1)
	filter := func(keep func(e *ranker.Event) bool) []ranker.Event {
		var out []ranker.Event
		for _, e := range all {
			if keep(&e) {
				out = append(out, e)
			}
		}
		return out
	}
	const tooFew = "usable lists, 50 needed. Without its newest"
	for name, c := range map[string]struct {
		events []ranker.Event
		want   string
	}{
		"no events": {nil, "import events"},
		"items only": {filter(func(e *ranker.Event) bool {
			return e.Kind == ranker.EventItem
		}), "import events"},
		"no clicks": {filter(func(e *ranker.Event) bool {
			return e.Kind != ranker.EventInteraction
		}), tooFew},
		"clicks on lists that the log lacks": {filter(func(e *ranker.Event) bool {
			return e.Kind == ranker.EventInteraction
		}), "import events"},
		"a few lists": {all[:400], tooFew},
	} {
		data := t.TempDir()
		if c.events != nil {
			data = importEvents(t, c.events)
		}
		out := mustFail(t, 1, "train", "--data", data, "--no-text")
		if !strings.Contains(out, c.want) {
			t.Errorf("%s: training prints %s, want %q", name, out, c.want)
		}
		if versions, err := bundle.Versions(filepath.Join(data, "bundles")); err != nil ||
			len(versions) > 0 {
			t.Errorf("%s: training wrote the bundles %v: %v", name, versions, err)
		}
	}
}

// TestFewImpressions trains on imported interactions, after which one list was shown and clicked.
// Sampled lists fill up the holdout, so that the gate does not decide on that one list.
func TestFewImpressions(t *testing.T) {
	events := smallShopEvents(300, 5000)
	last := events[len(events)-1]
	shown := ranker.Event{Kind: ranker.EventImpression, ID: "shown", UserID: "u1",
		Time: last.Time + 1000, Impression: &ranker.Impression{Items: []string{"i1", "i2", "i3"}}}
	clicked := ranker.Event{Kind: ranker.EventInteraction, ID: "clicked", UserID: "u1",
		Time: last.Time + 2000, ItemID: "i2", Action: "click", ImpressionID: "shown"}
	data := importEvents(t, append(events, shown, clicked))
	out, dir := train(t, data, "--config", quickConfig(t))
	card := readCard(t, dir)
	if !out.Activated || card.Scores[0].Value.N < 200 {
		t.Errorf("measured on %d lists: %+v", card.Scores[0].Value.N, out)
	}
	for _, s := range card.Scores {
		if s.Slice == "shown list" && (s.Value.N != 1 || s.Value.IsBounded()) {
			t.Errorf("the one shown list: %+v", s)
		}
	}
}

// TestSmallShop trains on 1,200 interactions of 30 users, who repeat many of them. It trains, but
// 200 lists are needed to decide, and the reason says how many there are and how sure that is.
func TestSmallShop(t *testing.T) {
	data := importEvents(t, smallShopEvents(30, 1200))
	out, dir := train(t, data, "--config", quickConfig(t))
	if out.Activated || !strings.HasPrefix(out.Reason, "too few lists to decide: ") ||
		!strings.Contains(out.Reason, "prior: NDCG@10 +") {
		t.Errorf("%+v", out)
	}
	card := readCard(t, dir)
	if card.Gate.Reason != out.Reason || card.Gate.Activated {
		t.Errorf("the model card says %+v, the gate %+v", card.Gate, out)
	}
	for _, c := range card.Log.Counts {
		if c.Name == "lists that the scorer was trained on" && c.N < 100 {
			t.Errorf("trained on %d lists", c.N)
		}
	}
}

// smallShopEvents returns a catalogue of 120 items, and interactions of users with items of their
// kind.
func smallShopEvents(users, interactions int) (events []ranker.Event) {
	r := rand.New(rand.NewPCG(1, 1))
	add := func(e ranker.Event) {
		e.ID, e.Time = fmt.Sprint("e", len(events)), 1_750_000_000_000+60_000*int64(len(events))
		events = append(events, e)
	}
	for i := range 120 {
		title := fmt.Sprintf("item %d of group %d", i, i%5)
		add(ranker.Event{Kind: ranker.EventItem, ItemID: fmt.Sprint("i", i), Title: &title})
	}
	for range interactions {
		u := r.IntN(users)
		add(ranker.Event{Kind: ranker.EventInteraction, UserID: fmt.Sprint("u", u),
			ItemID: fmt.Sprint("i", u%5+5*int(24*math.Pow(r.Float64(), 1.5))), Action: "click"})
	}
	return events
}

// TestOneUser trains on the log of a single user. Cross-fitting leaves no other user to train the
// signals on, and the bundle is valid all the same.
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

// TestGateKeepsActiveModel trains on wrong labels. The gate does not activate the bundle. With
// --force it does, and the manifest and the activation history record the reason.
func TestGateKeepsActiveModel(t *testing.T) {
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
		if items := shown[e.ImpressionID]; items != nil && lists < 600 {
			e.ItemID = items[rng.IntN(len(items))] // the newest lists keep their labels
		}
	}
	data := importEvents(t, events)
	out, dir := train(t, data, "--config", config, "--holdout", "0.3")
	if out.Activated || !strings.HasPrefix(out.Reason, "worse than prior") {
		t.Fatalf("%+v", out)
	}
	if active, err := bundle.Active(filepath.Dir(dir)); err != nil || active != "prior" {
		t.Errorf("%s is active, %v", active, err)
	}
	out, dir = train(t, data, "--config", config, "--holdout", "0.3", "--force", "a drill")
	m, err := bundle.ReadManifest(dir)
	if err != nil || !out.Activated || m.Forced != "a drill" ||
		!strings.HasPrefix(out.Reason, "forced (a drill): worse than prior") {
		t.Errorf("%+v, %+v, %v", out, m, err)
	}
	history, err := os.ReadFile(filepath.Join(data, "bundles", "activations"))
	if err != nil || !bytes.Contains(history, []byte("a drill")) || !readCard(t, dir).Gate.Forced {
		t.Errorf("activations %s, %v", history, err)
	}
}

// TestTrainingIsDeterministic trains twice on the same log. All files of the bundles are equal but
// the manifest and the model card, which contain times.
func TestTrainingIsDeterministic(t *testing.T) {
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
		t.Errorf("features.yaml gives no reason for leaving a feature out: %s", yaml)
	}
}

// TestNothingNew warm-starts from the active bundle without new events. That is no failure, and no
// bundle is written.
func TestNothingNew(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	first, _ := train(t, data, "--config", config, "--force", "a test", "--from", "previous")
	if !first.Activated {
		t.Fatalf("%+v: without an active bundle, --from previous must train in full", first)
	}
	if again, _ := train(t, data, "--config", config, "--from", "previous"); again.Version != "" ||
		again.Activated || !strings.Contains(again.Reason, "0 new lists") {
		t.Errorf("%+v", again)
	}
}

// TestSeveralLogs trains on the logs of two replicas. The manifest names the last record of each.
func TestSeveralLogs(t *testing.T) {
	var parts [2][]ranker.Event
	for _, e := range demoEvents(1) {
		at := 0
		if e.UserID != "" && e.UserID[len(e.UserID)-1]%2 == 1 {
			at = 1
		}
		parts[at] = append(parts[at], e)
	}
	first, second := importEvents(t, parts[0]), importEvents(t, parts[1])
	_, dir := train(t, first, "--log", second, "--config", quickConfig(t))
	m, err := bundle.Verify(dir)
	if err != nil || len(m.Data.Logs) != 2 || m.Data.Logs[0].Last.Seq != uint64(len(parts[0])) ||
		m.Data.Logs[1].Last.Seq != uint64(len(parts[1])) {
		t.Errorf("%+v, %v", m, err)
	}
}

// stageLine matches the first line of a training stage on standard error.
var stageLine = regexp.MustCompile(`^train: (.*): \d+`)

// TestKilledTraining kills a training at the beginning of different stages. The old bundle stays
// active, every bundle in the folder is complete, and the next training works.
func TestKilledTraining(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	first := trainUntil(t, data, config, math.MaxInt)
	stages := first.stages
	root := filepath.Join(data, "bundles")
	active, err := bundle.Active(root)
	if err != nil || stages < 4 {
		t.Fatalf("the first training has %d stages and leaves %s active: %v", stages, active, err)
	}
	const kills = 6
	for i := range kills {
		killed := trainUntil(t, data, config, 1+i*(stages-1)/(kills-1))
		now, err := bundle.Active(root)
		if err != nil || killed.killed && now != active && !isNewest(t, root, now) {
			t.Fatalf("after kill %d, %s is active, want %s: %v", i, now, active, err)
		}
		versions, err := bundle.Versions(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range versions {
			if _, err := bundle.Verify(filepath.Join(root, v)); err != nil {
				t.Errorf("after kill %d: %v", i, err)
			}
		}
		active = now
	}
	if out, _ := train(t, data, "--config", config); out.Version == "" {
		t.Errorf("the training after the kills: %+v", out)
	}
}

// interrupted is what became of a training that trainUntil ran.
type interrupted struct {
	stages int // that began
	killed bool
}

// trainUntil trains, and kills the training when stage number stop, counted from 1, begins.
func trainUntil(t *testing.T, data, config string, stop int) (result interrupted) {
	t.Helper()
	cmd := relish(t, "train", "--data", data, "--no-text", "--config", config, "--force", "a test")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		match := stageLine.FindStringSubmatch(lines.Text())
		if match == nil || match[1] == last {
			continue
		}
		last = match[1]
		if result.stages++; result.stages == stop {
			_ = cmd.Process.Kill()
		}
	}
	result.killed = cmd.Wait() != nil
	return result
}

// isNewest reports whether the version is the last that was written: the kill came after the
// training.
func isNewest(t *testing.T, root, version string) bool {
	t.Helper()
	versions, err := bundle.Versions(root)
	return err == nil && len(versions) > 0 && versions[0] == version
}

// TestOneTrainingAtATime trains while another process holds the lock. The error names that process.
func TestOneTrainingAtATime(t *testing.T) {
	data := importEvents(t, demoEvents(1))
	unlock, err := ingest.Lock(filepath.Join(data, "bundles", ".training"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	out, err := relish(t, "train", "--data", data, "--no-text").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another training") ||
		!strings.Contains(string(out), fmt.Sprint(os.Getpid())) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTrainEvery trains at an interval. Intervals without new events train nothing, and SIGTERM
// ends the command with exit status 0.
func TestTrainEvery(t *testing.T) {
	data := importEvents(t, demoEvents(1))
	cmd := relish(t, "train", "--data", data, "--no-text", "--config", quickConfig(t), "--every",
		"50ms", "--json")
	var stdout, stderr safeBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	eventually(t, "an interval in which nothing is new", func() bool {
		return strings.Contains(stderr.String(), "nothing new")
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.String())
	}
	if n := strings.Count(stdout.String(), `"version"`); n != 1 {
		t.Errorf("%d trainings, want 1: %s", n, stdout.String())
	}
}

// TestGateAsksForUnseenLists compares with an active bundle that has learned from the holdout. The
// gate says so. With new events it compares on lists that neither bundle has learned from.
func TestGateAsksForUnseenLists(t *testing.T) {
	events, config := demoEvents(1), quickConfig(t)
	early := len(events) * 3 / 4
	data := importEvents(t, events[:early])
	train(t, data, "--config", config, "--force", "the first one")
	const overlap = "the active bundle was trained on some of these lists"
	if out, _ := train(t, data, "--config", config); !strings.Contains(out.Reason, overlap) {
		t.Errorf("the same log: %+v", out)
	}
	file := filepath.Join(t.TempDir(), "more.jsonl")
	if err := os.WriteFile(file, ndjson(t, events[early:]), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--no-text", "--strict", file)
	out, dir := train(t, data, "--config", config)
	if strings.Contains(out.Reason, overlap) {
		t.Errorf("with new lists: %+v", out)
	}
	unseen := 0
	for _, e := range events[early:] {
		if e.Kind == ranker.EventImpression {
			unseen++
		}
	}
	if parts := readCard(t, dir).Parts; len(parts) != 2 || parts[1].Lists > unseen {
		t.Errorf("%d lists are new, the model card has the parts %+v", unseen, parts)
	}
}

// TestOldBundlesAreRemoved trains with --keep 2. The active bundle is kept, although it is not
// among the newest two.
func TestOldBundlesAreRemoved(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	first, _ := train(t, data, "--config", config, "--force", "the first one")
	for range 2 {
		train(t, data, "--config", config, "--keep", "2")
	}
	versions, err := bundle.Versions(filepath.Join(data, "bundles"))
	if err != nil || len(versions) != 2 || versions[1] != first.Version {
		t.Errorf("the folder has %v, want two with the active %s: %v", versions, first.Version, err)
	}
}
