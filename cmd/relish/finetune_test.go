package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
)

// topics are pairs of word lists. The same users buy items of both lists, although the words have
// nothing in common. A fine-tuned encoder learns that they go together.
var topics = [][2][]string{
	{{"violin", "cello", "trumpet"}, {"tent", "backpack", "lantern"}},
	{{"pepper", "saffron", "basil"}, {"saddle", "stirrup", "bridle"}},
	{{"hammer", "chisel", "drill"}, {"poem", "sonnet", "novel"}},
	{{"orbit", "comet", "nebula"}, {"skillet", "ladle", "whisk"}},
}

// topicLog writes events of a shop in which user u buys items of topic u modulo 4.
type topicLog struct {
	r      *rand.Rand
	now    int64 // Unix ms
	number int   // of events
}

// event gives an event its id and its time.
func (l *topicLog) event(e ranker.Event) ranker.Event {
	l.number++
	l.now += 1000
	e.ID, e.Time = fmt.Sprint("e", l.number), l.now
	return e
}

// items returns n items of each topic.
func (l *topicLog) items(n int) (out []ranker.Event) {
	for topic, lists := range topics {
		for i := range n {
			words := lists[i%2]
			title := fmt.Sprintf("%s %s %d", words[l.r.IntN(3)], words[l.r.IntN(3)],
				100+l.r.IntN(900))
			out = append(out, l.event(ranker.Event{
				Kind: ranker.EventItem, ItemID: fmt.Sprintf("t%d-%d", topic, i), Title: &title,
			}))
		}
	}
	return out
}

// purchases returns purchases of each user, among n items of each topic.
func (l *topicLog) purchases(users, each, n int) (out []ranker.Event) {
	for range each {
		for u := range users {
			out = append(out, l.event(ranker.Event{
				Kind: ranker.EventInteraction, UserID: fmt.Sprint("u", u), Action: "purchase",
				ItemID: fmt.Sprintf("t%d-%d", u%len(topics), l.r.IntN(n)),
			}))
		}
	}
	return out
}

// TestFineTunedEncoder fine-tunes the text encoder on a log of purchases. The bundle contains the
// encoder. A service probes it, ranks new items by its vectors, rolls back and forth, and finds it
// again after a restart. A later training starts from it.
func TestFineTunedEncoder(t *testing.T) {
	log := &topicLog{r: rand.New(rand.NewPCG(3, 3)), now: 1_750_000_000_000}
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "events.jsonl")
	// From 500 users on the scorer takes one list of each, and leaves the encoder the others.
	events := append(log.items(60), log.purchases(520, 5, 60)...)
	if err := os.WriteFile(file, ndjson(t, events), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--strict", file)
	config := filepath.Join(dir, "relish.yaml")
	text := "train: {signals: [text, overlap], scorer: {leaves: [7], rounds: 40}, " +
		"encoder: {layers: 2, steps: 100}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer // of the last training
	train := func(args ...string) (out trainResult, m *bundle.Manifest) {
		t.Helper()
		progress.Reset()
		cmd := relish(t, append([]string{"train", "--data", data, "--config", config, "--json",
			"--force", "a test"}, args...)...)
		cmd.Stderr = &progress
		text, err := cmd.Output()
		if err = errors.Join(err, json.Unmarshal(text, &out)); err != nil {
			t.Fatalf("%v: %s%s", err, text, progress.String())
		}
		m, err = bundle.Verify(filepath.Join(data, "bundles", out.Version))
		if err != nil {
			t.Fatal(err)
		}
		return out, m
	}
	plain, m := train()
	if m.Encoder.FineTuned {
		t.Fatal("without --tune-encoder, the encoder was fine-tuned on only 2,600 purchases")
	}
	const stage = "train: fine-tune the text encoder"
	if strings.Contains(progress.String(), stage) {
		t.Error("a training that does not fine-tune the encoder says that it does")
	}
	kept, m := train("--tune-encoder", "--max-minutes", "0.01") // too short for a single step
	if !strings.Contains(progress.String(), stage) {
		t.Errorf("the progress does not name the fine-tuning: %s", progress.String())
	}
	page := readFile(t, filepath.Join(data, "bundles", kept.Version, "report.html"))
	if m.Encoder.FineTuned || !strings.Contains(page, "it does not rank held-out texts better") {
		t.Errorf("an encoder that is no better is used: %+v", m.Encoder)
	}
	if !strings.Contains(page, "The time limit train.encoder.minutes") {
		t.Error("the model card does not say that the time limit ended the fine-tuning")
	}
	s := serve(t, "--data", data, "--config", config)
	tuned, m := train("--tune-encoder")
	if !m.Encoder.FineTuned || !tuned.Activated || !hasFile(m, bundle.EncoderFP32File) ||
		!hasFile(m, bundle.VectorsExt) {
		t.Fatalf("%+v, %+v", tuned, m)
	}
	eventually(t, "the service ranks with the fine-tuned encoder",
		func() bool { return s.activeModel(t) == tuned.Version })
	s.checkCovered(t, tuned.Version, 0)
	page = readFile(t, filepath.Join(data, "bundles", tuned.Version, "report.html"))
	for _, want := range []string{"Text encoder", "on held-out texts: before", "cosine of a text"} {
		if !strings.Contains(page, want) {
			t.Errorf("the model card does not contain %q", want)
		}
	}
	s.checkTextRanking(t, tuned.Version)
	// Both activations take effect at once, because all vectors are there.
	for _, want := range []string{plain.Version, tuned.Version} {
		status, answer := s.post(t, "/models/"+want+"/activate", "")
		if active := s.activeModel(t); status != http.StatusOK || active != want {
			t.Errorf("activation answers %d %v, and %s ranks", status, answer, active)
		}
	}
	_, ready := s.get(t, "/health/ready")
	if !strings.Contains(ready, "fine-tuned encoders in use: 1") {
		t.Errorf("/health/ready answers %s", ready)
	}
	s.stop(t)

	out := output(t, "evaluate", "--data", data, "--config", config, "--in-sample")
	if !strings.Contains(out, "text only, fine-tuned encoder") {
		t.Errorf("evaluate prints %s", out)
	}
	out = output(t, "doctor", "--data", data)
	if !strings.Contains(out, tuned.Version+": active; it reproduces its recorded scores") {
		t.Errorf("doctor prints %s", out)
	}
	// The bundle brings its vectors, so it ranks at once on a server that has none. Only the two
	// items that came after the training are encoded.
	if err := os.RemoveAll(filepath.Join(data, "vectors", "finetuned")); err != nil {
		t.Fatal(err)
	}
	s = serve(t, "--data", data, "--config", config)
	s.checkCovered(t, tuned.Version, 2)
	s.checkTextRanking(t, tuned.Version)
	s.stop(t)

	if err := os.WriteFile(file, ndjson(t, log.purchases(240, 1, 60)), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--strict", file)
	if out, m := train("--from", "previous"); m.Parent != tuned.Version || !m.Encoder.FineTuned ||
		!hasFile(m, bundle.VectorsExt) {
		t.Errorf("the warm start gives %+v, %+v", out, m)
	}
}

// hasFile reports whether a bundle has a file whose name ends so.
func hasFile(m *bundle.Manifest, end string) bool {
	return slices.ContainsFunc(m.Files,
		func(f bundle.File) bool { return strings.HasSuffix(f.Name, end) })
}

// checkCovered ranks the items of the log over four connections at once. No vector may be missing,
// and the service may have encoded at most that many texts since its start.
func (s *service) checkCovered(t *testing.T, model string, encoded int) {
	t.Helper()
	var candidates []string
	for topic := range topics {
		for i := range 60 {
			candidates = append(candidates, fmt.Sprintf("%q", fmt.Sprintf("t%d-%d", topic, i)))
		}
	}
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for i := range 10 {
				_, data, err := s.request(http.MethodPost, "/recommend", fmt.Sprintf(
					`{"user_id":"u%d","candidates":[%s],"record":false,"deadline_ms":10000}`,
					client+4*i, strings.Join(candidates, ",")))
				var answer struct {
					Model    string
					Degraded []string
				}
				if err = errors.Join(err, json.Unmarshal(data, &answer)); err != nil ||
					answer.Model != model || len(answer.Degraded) > 0 {
					t.Errorf("model %s, degraded %v, %v; want model %s", answer.Model,
						answer.Degraded, err, model)
				}
			}
		})
	}
	clients.Wait()
	_, metrics := s.get(t, "/metrics")
	if !strings.Contains(metrics, "\nrelish_vector_misses_total 0\n") {
		t.Error("rankings missed vectors")
	}
	for n := range encoded + 1 {
		if strings.Contains(metrics, fmt.Sprintf("\nrelish_encoder_texts_total %d\n", n)) {
			return
		}
	}
	t.Errorf("the service has encoded more than %d texts", encoded)
}

// checkTextRanking adds items that nobody has bought. Each user gets the item of their topic first,
// because of its text.
func (s *service) checkTextRanking(t *testing.T, model string) {
	t.Helper()
	put := func(id, title string) {
		t.Helper()
		status, answer, err := s.request(http.MethodPut, "/items",
			fmt.Sprintf(`{"id":%q,"title":%q}`, id, title))
		if err != nil || status != http.StatusOK {
			t.Fatalf("PUT /items answers %d %s: %v", status, answer, err)
		}
	}
	put("new-0", "violin and lantern, limited edition")
	put("new-1", "saffron for the stirrup")
	for user, first := range map[string]string{"u4": "new-0", "u5": "new-1"} {
		var answer map[string]any
		eventually(t, "all texts have vectors", func() bool {
			_, answer = s.post(t, "/recommend", fmt.Sprintf(
				`{"user_id":%q,"candidates":["new-0","new-1"],"explain":2,"record":false,
				"deadline_ms":10000}`, user))
			return answer["coverage"].(map[string]any)["text"] == 1.0
		})
		if got := order(t, answer); got[0] != first || answer["model"] != model {
			t.Errorf("%s gets %v by model %v, want %s first by %s", user, got, answer["model"],
				first, model)
		}
		if by := textContribution(answer, 0) - textContribution(answer, 1); by <= 0 {
			t.Errorf("%s: the text adds %v to the difference of the scores, want more than 0", user,
				by)
		}
	}
}

// textContribution is what the text contributes to the score of the item at an index of the answer.
func textContribution(answer map[string]any, i int) (sum float64) {
	explain := answer["items"].([]any)[i].(map[string]any)["explain"].(map[string]any)
	for _, c := range explain["contributions"].([]any) {
		if c := c.(map[string]any); c["group"] == "text" {
			sum += c["contribution"].(float64)
		}
	}
	return sum
}

// activeModel returns the model that ranks.
func (s *service) activeModel(t *testing.T) string {
	t.Helper()
	_, answer := s.post(t, "/recommend",
		`{"user_id":"u1","candidates":["t0-1","t1-1"],"record":false,"deadline_ms":10000}`)
	return answer["model"].(string)
}

// TestUnusedVectorsAreRemoved starts a service on a folder with vectors of a fine-tuned encoder
// that no bundle has. They are removed, and those of the base encoder stay.
func TestUnusedVectorsAreRemoved(t *testing.T) {
	data := t.TempDir()
	output(t, "demo", "--data", data, "--users", "5", "--lists", "10", "--no-text")
	unused := filepath.Join(data, "vectors", "finetuned", "vectors-0123456789abcdef.rvt")
	base := filepath.Join(data, "vectors", "vectors-0123456789abcdef.rvt")
	for _, path := range []string{unused, base} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("rows"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, "--data", data, "--no-text").stop(t)
	if _, err := os.Stat(unused); err == nil {
		t.Error("the unused vectors are still there")
	}
	if _, err := os.Stat(base); err != nil {
		t.Error("the vectors of the base encoder are gone")
	}
}
