package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/features/event"
	"relish/internal/app"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/modelcard"
)

// trainResult is what relish train prints as JSON.
type trainResult struct {
	Version   string
	Activated bool
	Reason    string
}

// train trains on a data folder without text. It returns the result and the folder of the bundle.
func train(t *testing.T, data string, args ...string) (out trainResult, dir string) {
	t.Helper()
	args = append([]string{"train", "--data", data, "--no-text", "--json"}, args...)
	if err := json.Unmarshal([]byte(output(t, args...)), &out); err != nil {
		t.Fatal(err)
	}
	return out, filepath.Join(data, "bundles", out.Version)
}

// quickConfig returns a configuration file that trains in a second. The model is poor, which is
// good enough for tests of everything around a training.
func quickConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relish.yaml")
	text := "train: {signals: [overlap, cooccurrence], scorer: {leaves: [7], rounds: 30}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readCard reads the data of a bundle's model card.
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

// formatEvents writes events as NDJSON.
func formatEvents(events []ranker.Event) ([]byte, error) {
	var out []byte
	for i := range events {
		var err error
		if out, err = event.AppendLog(out, &events[i]); err != nil {
			return nil, err
		}
		out = append(out, '\n')
	}
	return out, nil
}

func ndjson(t *testing.T, events []ranker.Event) []byte {
	t.Helper()
	text, err := formatEvents(events)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// importEvents imports events into a new data folder, without text.
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

// TestTrainedBeatsBaselines trains on simulated clicks. The model beats every baseline on held-out
// lists. In the simulator, it comes closer to the best order than the prior and than the logged
// order. Held-out clicks could not show the latter: users look at the top, which favours the logged
// order.
func TestTrainedBeatsBaselines(t *testing.T) {
	for _, number := range []uint64{1, 2} {
		seed := fmt.Sprint(number)
		data := filepath.Join(t.TempDir(), "d")
		output(t, "demo", "--data", data, "--no-text", "--seed", seed, "--users", "40", "--lists",
			"2500")
		out, dir := train(t, data, "--holdout", "0.2")
		if !out.Activated || !strings.HasPrefix(out.Reason, "better than prior") {
			t.Errorf("seed %s: %+v", seed, out)
		}
		this, margins := 0.0, map[string]float64{"random": 0.1, "popularity": 0.02,
			"live click rate": 0.02}
		for _, s := range readCard(t, dir).Scores {
			if s.Metric != "NDCG@10" || s.Slice != "all" {
				continue
			}
			if s.Role == modelcard.RoleThis {
				this = s.Value.Mean
			}
			if _, baseline := margins[s.Scorer]; baseline {
				margins[s.Scorer] += s.Value.Mean
			}
		}
		for name, bound := range margins {
			if this <= bound {
				t.Errorf("seed %s: NDCG@10 is %.3f, want more than %.3f: %s with its margin", seed,
					this, bound, name)
			}
		}
		var simulated struct {
			Rows []app.ClickShare
		}
		table := output(t, "demo", "--data", data, "--no-text", "--simulate", "--json", "--visits",
			"400")
		if err := json.Unmarshal([]byte(table), &simulated); err != nil {
			t.Fatal(err)
		}
		if len(simulated.Rows) != 3 {
			t.Fatalf("seed %s: shares %+v, want three", seed, simulated.Rows)
		}
		rows := simulated.Rows
		random, prior, trained := rows[0].Share, rows[1].Share, rows[2].Share
		logged := loggedShare(demo.Options{Seed: number, Users: 40, Lists: 2500})
		if trained.Low < logged+0.02 || trained.Low < prior.Mean+0.01 || prior.Mean < random.High ||
			trained.High > 1 {
			t.Errorf("seed %s: shares: random %v, prior %v, trained %v, logged %.3f", seed, random,
				prior, trained, logged)
		}
		reached := rows[2].Reached
		if reached == nil || rows[0].Reached != nil || rows[1].Reached != nil ||
			math.Abs(reached.Mean-(trained.Mean-prior.Mean)/(1-prior.Mean)) > 0.03 {
			t.Errorf("seed %s: from the prior to the best order: %v, shares %v and %v", seed,
				reached, prior, trained)
		}
	}
}

// loggedShare is the share of the best order's clicks that the logged orders get.
func loggedShare(options demo.Options) float64 {
	world, n, sum := demo.New(options), 0.0, 0.0
	for e := range world.Events() {
		if e.Kind == ranker.EventImpression {
			n++
			best := world.BestOrder(e.UserID, e.Impression.Items)
			sum += world.ExpectedClicks(e.UserID,
				e.Impression.Items) / world.ExpectedClicks(e.UserID, best)
		}
	}
	return sum / n
}

// TestWarmStartBesideService trains beside a service, which takes over the bundle. Its rankings are
// explained and logged. More events arrive, and a second training starts from the first bundle.
func TestWarmStartBesideService(t *testing.T) {
	events, config := demoEvents(1), quickConfig(t)
	early := len(events) * 7 / 10
	data := importEvents(t, events[:early])
	s := serve(t, "--data", data, "--no-text")
	first, dir := train(t, data, "--config", config, "--force", "to see it serve")
	if !first.Activated {
		t.Fatalf("%+v", first)
	}
	eventually(t, "the service ranks with the new bundle",
		func() bool { return s.model(t) == first.Version })
	status, models := s.get(t, "/models")
	if status != 200 || !strings.Contains(models, first.Version) ||
		!strings.Contains(models, "ndcg@10") {
		t.Errorf("/models answers %d: %s", status, models)
	}
	status, page := s.get(t, "/models/"+first.Version+"/report")
	if status != 200 || !strings.Contains(page, "Before you activate it") ||
		!strings.Contains(page, "lists with clicks") {
		t.Errorf("the model card answers %d and lacks its parts", status)
	}
	for _, e := range events[early-200 : early] {
		if e.Kind == ranker.EventImpression {
			s.checkExplanation(t, e.UserID, e.Impression.Items)
		}
	}
	for part := range slices.Chunk(events[early:], 1000) {
		if status, answer := s.post(t, "/feedback", string(ndjson(t, part))); status != 200 ||
			len(answer["rejected"].([]any)) > 0 {
			t.Fatalf("/feedback answers %d: %v", status, answer)
		}
	}

	_, next := train(t, data, "--config", config, "--from", "previous")
	m, err := bundle.Verify(next)
	if err != nil || m.Parent != first.Version || m.Data.Holdout == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	const tree = "\nTree="
	before := strings.Count(readFile(t, filepath.Join(dir, "gbdt.txt")), tree)
	if after := strings.Count(readFile(t, filepath.Join(next, "gbdt.txt")), tree); after < before {
		t.Errorf("the warm start has %d trees, want at least the %d that it started from", after,
			before)
	}
	d := readCard(t, next)
	if d.Log.ParityChecked < 20 || d.Log.ParityDiffering != 0 {
		t.Errorf("%d of %d served matrices differ from the replay's", d.Log.ParityDiffering,
			d.Log.ParityChecked)
	}
	if d.Previous != first.Version || !slices.ContainsFunc(d.Tables,
		func(t modelcard.Table) bool { return t.Title == "Quality on old lists" }) {
		t.Errorf("compared with %s, tables %v", d.Previous, d.Tables)
	}
	s.stop(t)
}

// checkExplanation ranks items and checks that the contributions of each explained item add up to
// its score.
func (s *service) checkExplanation(t *testing.T, user string, items []string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"user_id": user, "candidates": items, "explain": 2,
		"deadline_ms": 10000})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.post(t, "/recommend", string(body))
	if status != http.StatusOK || len(answer["degraded"].([]any)) > 0 {
		t.Fatalf("/recommend answers %d: %v", status, answer)
	}
	for _, it := range answer["items"].([]any)[:2] {
		item := it.(map[string]any)
		explain := item["explain"].(map[string]any)
		sum := explain["base"].(float64)
		parts := explain["contributions"].([]any)
		for _, c := range parts {
			sum += c.(map[string]any)["contribution"].(float64)
		}
		if score := item["score"].(float64); len(parts) == 0 ||
			math.Abs(sum-score) > 1e-6*max(1, math.Abs(score)) {
			t.Errorf("%d contributions and the base add up to %g, the score is %g", len(parts), sum,
				score)
		}
	}
}

// TestTrainWithText trains in a folder without vectors. Training encodes the texts in memory and
// writes no vectors. The bundle names the encoder, and a service with that encoder ranks with it.
func TestTrainWithText(t *testing.T) {
	data, config := filepath.Join(t.TempDir(), "d"), quickConfig(t)
	output(t, "demo", "--data", data, "--users", "40", "--lists", "900")
	if err := os.RemoveAll(filepath.Join(data, "vectors")); err != nil {
		t.Fatal(err)
	}
	text := "train: {signals: [text], scorer: {leaves: [7], rounds: 30}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out trainResult
	result := output(t, "train", "--data", data, "--json", "--config", config, "--force", "a test")
	if err := json.Unmarshal([]byte(result), &out); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(data, "bundles", out.Version)
	m, err := bundle.Verify(dir)
	if err != nil || m.Encoder.Digest == "" || m.Encoder.ID == "" {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := os.Stat(filepath.Join(data, "vectors")); err == nil {
		if left, err := filepath.Glob(filepath.Join(data, "vectors", "*")); err != nil ||
			len(left) > 0 {
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
		t.Error("every text column is missing in every list")
	}
	s := serve(t, "--data", data)
	if got := s.model(t); got != out.Version {
		t.Errorf("%s ranks", got)
	}
	s.stop(t)
}
