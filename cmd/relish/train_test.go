package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/features/event"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/modelcard"

	"relish/internal/app"
)

// trainResult is what relish train prints.
type trainResult struct {
	Version   string
	Activated bool
	Reason    string
}

// train trains on a folder without text, and returns what came of it with the folder of the new bundle.
func train(t *testing.T, data string, args ...string) (out trainResult, dir string) {
	t.Helper()
	args = append([]string{"train", "--data", data, "--no-text", "--json"}, args...)
	if err := json.Unmarshal([]byte(output(t, args...)), &out); err != nil {
		t.Fatal(err)
	}
	return out, filepath.Join(data, "bundles", out.Version)
}

// quickConfig is a configuration that trains in a second: tests of what surrounds a training need no good one.
func quickConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relish.yaml")
	text := "train: {matchers: [words, cooccurrence], blend: {leaves: [7], rounds: 30}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readCard(t *testing.T, dir string) *modelcard.Data {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d modelcard.Data
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// ndjson writes events as NDJSON.
func ndjson(t *testing.T, events []ranker.Event) []byte {
	t.Helper()
	var out []byte
	for i := range events {
		var err error
		if out, err = event.AppendLog(out, &events[i]); err != nil {
			t.Fatal(err)
		}
		out = append(out, '\n')
	}
	return out
}

// importEvents makes a data folder of events.
func importEvents(t *testing.T, events []ranker.Event) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "events.jsonl")
	if err := os.WriteFile(file, ndjson(t, events), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "d")
	output(t, "import", "--data", data, "--no-text", "--strict", file)
	return data
}

// What was learned beats every plain baseline on lists that it has not seen, and comes closer to the order that only the
// simulator knows than the prior does. Against the order that was shown the simulator decides: users look at what stands on
// top, so the clicks favour it.
func TestLearnedBeatsBaselines(t *testing.T) {
	for _, number := range []uint64{1, 2} {
		seed := fmt.Sprint(number)
		data := filepath.Join(t.TempDir(), "d")
		output(t, "demo", "--data", data, "--no-text", "--seed", seed, "--users", "40", "--lists", "2500")
		out, dir := train(t, data, "--holdout", "0.2")
		if !out.Activated || !strings.HasPrefix(out.Reason, "better than prior") {
			t.Errorf("seed %s: %+v", seed, out)
		}
		this, margins := 0.0, map[string]float64{"random": 0.1, "popularity": 0.02, "live click rate": 0.02}
		for _, s := range readCard(t, dir).Scores {
			if s.Metric != "NDCG@10" || s.Slice != "all" {
				continue
			}
			if s.Role == modelcard.RoleThis {
				this = s.Value.Mean
			}
			if _, plain := margins[s.Scorer]; plain {
				margins[s.Scorer] += s.Value.Mean
			}
		}
		for name, least := range margins {
			if this <= least {
				t.Errorf("seed %s: NDCG@10 %.3f, %s with its margin %.3f", seed, this, name, least)
			}
		}
		var sim struct {
			Rows []app.ClickShare
		}
		if err := json.Unmarshal([]byte(output(t, "demo", "--data", data, "--no-text", "--simulate", "--json", "--visits", "400")), &sim); err != nil {
			t.Fatal(err)
		}
		if len(sim.Rows) != 3 || sim.Rows[2].Share.Low < shareOfLogged(demo.Options{Seed: number, Users: 40, Lists: 2500})+0.02 || sim.Rows[1].Share.Mean < sim.Rows[0].Share.High || sim.Rows[2].Share.Low < sim.Rows[1].Share.Mean+0.01 || sim.Rows[2].Share.High > 1 {
			t.Errorf("seed %s: shares %+v", seed, sim.Rows)
		}
	}
}

// shareOfLogged is the share of the best order's clicks that the orders get which were shown.
func shareOfLogged(options demo.Options) float64 {
	w, n, sum := demo.New(options), 0.0, 0.0
	for e := range w.Events() {
		if e.Kind == ranker.EventImpression {
			n++
			sum += w.ExpectedClicks(e.UserID, e.Impression.Items) / w.ExpectedClicks(e.UserID, w.BestOrder(e.UserID, e.Impression.Items))
		}
	}
	return sum / n
}

// The loop: train beside a running server, which changes over; what it ranks is explained and logged; more events come, and
// the bundle is trained on.
func TestWarmStartBesideServer(t *testing.T) {
	events, config := demoEvents(1), quickConfig(t)
	early := len(events) * 7 / 10
	data := importEvents(t, events[:early])
	s := serve(t, "--data", data, "--no-text")
	first, dir := train(t, data, "--config", config, "--force", "to see it serve")
	if !first.Activated {
		t.Fatalf("%+v", first)
	}
	for end := time.Now().Add(30 * time.Second); s.model(t) != first.Version; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server does not change over")
		}
	}
	if status, text := s.get(t, "/models"); status != 200 || !strings.Contains(text, first.Version) || !strings.Contains(text, "ndcg@10") {
		t.Errorf("%d %s", status, text)
	}
	if status, page := s.get(t, "/models/"+first.Version+"/report"); status != 200 || !strings.Contains(page, "Before activating") || !strings.Contains(page, "newest lists with clicks") {
		t.Errorf("%d: no report", status)
	}
	for _, e := range events[early-200 : early] {
		if e.Kind == ranker.EventImpression {
			s.explained(t, e.UserID, e.Impression.Items)
		}
	}
	for part := range slices.Chunk(events[early:], 1000) {
		if status, answer := s.post(t, "/feedback", string(ndjson(t, part))); status != 200 || len(answer["rejected"].([]any)) > 0 {
			t.Fatalf("%d %v", status, answer)
		}
	}

	_, next := train(t, data, "--config", config, "--from", "previous")
	m, err := bundle.Verify(next)
	if err != nil || m.Parent != first.Version || m.Data.Holdout == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	old, err := os.ReadFile(filepath.Join(dir, "gbdt.txt"))
	if err != nil {
		t.Fatal(err)
	}
	blend, err := os.ReadFile(filepath.Join(next, "gbdt.txt"))
	if err != nil {
		t.Fatal(err)
	}
	trees := []byte("\nTree=")
	if before, now := bytes.Count(old, trees), bytes.Count(blend, trees); now < before {
		t.Errorf("%d trees became %d", before, now)
	}
	d := readCard(t, next)
	if d.Log.ParityChecked < 20 || d.Log.ParityDiffering != 0 {
		t.Errorf("%d of %d served matrices differ from the replay's", d.Log.ParityDiffering, d.Log.ParityChecked)
	}
	if d.Previous != first.Version || len(d.Tables) == 0 || d.Tables[0].Title != "What it has forgotten" {
		t.Errorf("compared with %s, tables %v", d.Previous, d.Tables)
	}
	s.stop(t)
}

// explained ranks and checks that explanations add up.
func (s *service) explained(t *testing.T, user string, items []string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"user_id": user, "candidates": items, "explain": 2, "deadline_ms": 5000})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.post(t, "/recommend", string(body))
	if status != http.StatusOK || len(answer["degraded"].([]any)) > 0 {
		t.Fatalf("%d %v", status, answer)
	}
	for _, it := range answer["items"].([]any)[:2] {
		item := it.(map[string]any)
		explain := item["explain"].(map[string]any)
		sum := explain["base"].(float64)
		parts := explain["contributions"].([]any)
		for _, c := range parts {
			sum += c.(map[string]any)["contribution"].(float64)
		}
		if score := item["score"].(float64); len(parts) == 0 || math.Abs(sum-score) > 1e-6*max(1, math.Abs(score)) {
			t.Errorf("%d contributions add up to %g, the score is %g", len(parts), sum, score)
		}
	}
}

// What a server noted of its rankings is compared with the replay, and a server that counts otherwise is found out. What the
// log does not say all of is left out.
func TestParityIsChecked(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	s := serve(t, "--data", data, "--no-text")
	rank := func(more string) {
		body := `{"user_id":"user-0001","deadline_ms":5000,"candidates":["film-001","book-001",{"id":"book-002"` + more
		if status, answer := s.post(t, "/recommend", body); status != http.StatusOK || len(answer["degraded"].([]any)) > 0 {
			t.Fatalf("%d %v", status, answer)
		}
	}
	for i := range 40 {
		rank("}]}")
		if i%4 == 0 {
			rank(`}],"limit":1}`)
			rank(`,"title":"Another one"}]}`)
		}
	}
	s.stop(t)
	_, dir := train(t, data, "--config", config)
	if l := readCard(t, dir).Log; l.ParityChecked != 40 || l.ParityDiffering != 0 {
		t.Errorf("%d of %d matrices differ", l.ParityDiffering, l.ParityChecked)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, "state: {recent: 1}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := relish(t, "train", "--data", data, "--no-text", "--config", config).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "replay's: 40 of 40") || !strings.Contains(string(out), "what is trained on is not what is served") {
		t.Errorf("%v: %s", err, out)
	}
}

// Texts that have no vector yet are encoded in memory; the bundle names the encoder, and a server with it ranks.
func TestTrainWithText(t *testing.T) {
	data, config := filepath.Join(t.TempDir(), "d"), quickConfig(t)
	output(t, "demo", "--data", data, "--users", "20", "--lists", "300")
	if err := os.RemoveAll(filepath.Join(data, "vectors")); err != nil {
		t.Fatal(err)
	}
	text := "train: {matchers: [text], blend: {leaves: [7], rounds: 30}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out trainResult
	if err := json.Unmarshal([]byte(output(t, "train", "--data", data, "--json", "--config", config, "--force", "a test")), &out); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(data, "bundles", out.Version)
	m, err := bundle.Verify(dir)
	if err != nil || m.Encoder.Digest == "" || m.Encoder.ID == "" {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := os.Stat(filepath.Join(data, "vectors")); err == nil {
		if left, err := filepath.Glob(filepath.Join(data, "vectors", "*")); err != nil || len(left) > 0 {
			t.Errorf("training wrote vectors: %v, %v", left, err)
		}
	}
	columns := 0
	for _, f := range readCard(t, dir).Features {
		if f.Kind == "signal" && f.Missing < 1 {
			columns++
		}
	}
	if columns == 0 {
		t.Error("the text's columns are missing throughout")
	}
	s := serve(t, "--data", data)
	if got := s.model(t); got != out.Version {
		t.Errorf("%s ranks", got)
	}
	s.stop(t)
}
