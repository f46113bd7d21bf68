package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/ranker"
	"relish/ranker/bundle"
)

// topics are words that the same users take, and that have nothing in common otherwise.
var topics = [][2][]string{
	{{"violin", "cello", "trumpet"}, {"tent", "backpack", "lantern"}},
	{{"pepper", "saffron", "basil"}, {"saddle", "stirrup", "bridle"}},
	{{"hammer", "chisel", "drill"}, {"poem", "sonnet", "novel"}},
	{{"orbit", "comet", "nebula"}, {"skillet", "ladle", "whisk"}},
}

// topicLog is a log of purchases: user u has the taste u modulo 4.
type topicLog struct {
	r      *rand.Rand
	now    int64
	number int
}

func (s *topicLog) event(e ranker.Event) ranker.Event {
	s.number++
	s.now += 1000
	e.ID, e.Time = fmt.Sprint("e", s.number), s.now
	return e
}

func (s *topicLog) items(perTaste int) (out []ranker.Event) {
	for k, halves := range topics {
		for i := range perTaste {
			half := halves[i%2]
			title := fmt.Sprintf("%s %s %d", half[s.r.IntN(3)], half[s.r.IntN(3)], 100+s.r.IntN(900))
			out = append(out, s.event(ranker.Event{Kind: ranker.EventItem, ItemID: fmt.Sprintf("t%d-%d", k, i), Title: &title}))
		}
	}
	return out
}

func (s *topicLog) purchases(users, each, perTaste int) (out []ranker.Event) {
	for range each {
		for u := range users {
			out = append(out, s.event(ranker.Event{Kind: ranker.EventInteraction, UserID: fmt.Sprint("u", u),
				ItemID: fmt.Sprintf("t%d-%d", u%len(topics), s.r.IntN(perTaste)), Action: "purchase"}))
		}
	}
	return out
}

// A log teaches the text encoder what goes together. The bundle brings the encoder along: it is tried, served, rolled back
// from and to, measured, found again after a restart, trained on from; new items rank by their texts.
func TestTunedEncoder(t *testing.T) {
	s := &topicLog{r: rand.New(rand.NewPCG(3, 3)), now: 1_750_000_000_000}
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "events.jsonl")
	if err := os.WriteFile(file, ndjson(t, append(s.items(60), s.purchases(240, 6, 60)...)), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--strict", file)
	config := filepath.Join(dir, "relish.yaml")
	if err := os.WriteFile(config, []byte("train: {matchers: [text, words], blend: {leaves: [7], rounds: 40}, encoder: {layers: 2, steps: 100, minutes: 30}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	train := func(args ...string) (out trainResult, m *bundle.Manifest) {
		t.Helper()
		if err := json.Unmarshal([]byte(output(t, append([]string{"train", "--data", data, "--config", config, "--json", "--force", "a test"}, args...)...)), &out); err != nil {
			t.Fatal(err)
		}
		m, err := bundle.Verify(filepath.Join(data, "bundles", out.Version))
		if err != nil {
			t.Fatal(err)
		}
		return out, m
	}
	plain, m := train()
	if m.Encoder.FineTuned {
		t.Fatal("a log of 1,440 purchases had the encoder tuned without being told to")
	}
	kept, m := train("--tune-encoder", "--max-minutes", "0.01") // no step fits into that
	if m.Encoder.FineTuned || !strings.Contains(readFile(t, filepath.Join(data, "bundles", kept.Version, "report.html")), "took no part it is not better") {
		t.Errorf("an encoder that is no better is used: %+v", m.Encoder)
	}
	server := serve(t, "--data", data, "--config", config)
	tuned, m := train("--tune-encoder")
	if !m.Encoder.FineTuned || !tuned.Activated || !slices.ContainsFunc(m.Files, func(f bundle.File) bool { return f.Name == bundle.EncoderFP32File }) {
		t.Fatalf("%+v, %+v", tuned, m.Encoder)
	}
	eventually(t, "the tuned bundle is served", func() bool { return server.activeModel(t) == tuned.Version })
	page := readFile(t, filepath.Join(data, "bundles", tuned.Version, "report.html"))
	for _, want := range []string{"Text encoder", "held-out texts: NDCG@10", "cosine of a text"} {
		if !strings.Contains(page, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	server.checkTextRanking(t, tuned.Version)
	for _, want := range []string{plain.Version, tuned.Version} { // both ways at once: nothing is encoded again
		if status, answer := server.post(t, "/models/"+want+"/activate", ""); status != http.StatusOK || server.activeModel(t) != want {
			t.Errorf("%d %v: %s ranks", status, answer, server.activeModel(t))
		}
	}
	if _, ready := server.get(t, "/health/ready"); !strings.Contains(ready, "of bundles") {
		t.Errorf("ready says %s", ready)
	}
	server.stop(t)

	if out := output(t, "evaluate", "--data", data, "--config", config, "--in-sample"); !strings.Contains(out, "text only, its own encoder") {
		t.Errorf("evaluate printed %s", out)
	}
	if out := output(t, "doctor", "--data", data); !strings.Contains(out, tuned.Version+": active; it gives the scores") {
		t.Errorf("doctor printed %s", out)
	}
	// Without its vectors it ranks at once, with those that are there, and soon with all.
	if err := os.RemoveAll(filepath.Join(data, "vectors", "finetuned")); err != nil {
		t.Fatal(err)
	}
	server = serve(t, "--data", data, "--config", config)
	if got := server.activeModel(t); got != tuned.Version {
		t.Errorf("after a restart %s ranks", got)
	}
	server.checkTextRanking(t, tuned.Version)
	server.stop(t)

	if err := os.WriteFile(file, ndjson(t, s.purchases(240, 1, 60)), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, "--strict", file)
	if on, m := train("--from", "previous"); m.Parent != tuned.Version || !m.Encoder.FineTuned {
		t.Errorf("trained on: %+v, %+v", on, m.Encoder)
	}
}

// checkTextRanking puts items that nobody has taken, and wants each user to be shown first what goes with his taste, by text.
func (s *service) checkTextRanking(t *testing.T, model string) {
	t.Helper()
	put := func(id, title string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPut, s.url+"/items", strings.NewReader(fmt.Sprintf(`{"id":%q,"title":%q}`, id, title)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
	}
	put("new-0", "violin and lantern, limited edition")
	put("new-1", "saffron for the stirrup")
	for user, first := range map[string]string{"u4": "new-0", "u5": "new-1"} {
		var answer map[string]any
		eventually(t, "all texts have vectors", func() bool {
			_, answer = s.post(t, "/recommend", fmt.Sprintf(`{"user_id":%q,"candidates":["new-0","new-1"],"explain":2,"record":false,"deadline_ms":5000}`, user))
			return answer["coverage"].(map[string]any)["text"] == 1.0
		})
		if got := order(t, answer); got[0] != first || answer["model"] != model {
			t.Errorf("%s is shown %v by %v", user, got, answer["model"])
		}
		if by := textContribution(answer, 0) - textContribution(answer, 1); by <= 0 {
			t.Errorf("%s: the text speaks for the second item by %v", user, -by)
		}
	}
}

// textContribution is what the text contributes to the score of the item at a place of the answer.
func textContribution(answer map[string]any, place int) (sum float64) {
	for _, c := range answer["items"].([]any)[place].(map[string]any)["explain"].(map[string]any)["contributions"].([]any) {
		if c := c.(map[string]any); c["group"] == "text" {
			sum += c["contribution"].(float64)
		}
	}
	return sum
}

// activeModel is which model ranks.
func (s *service) activeModel(t *testing.T) string {
	t.Helper()
	_, answer := s.post(t, "/recommend", `{"user_id":"u1","candidates":["t0-1","t1-1"],"record":false,"deadline_ms":5000}`)
	return answer["model"].(string)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Vectors of encoders that no bundle has any more go when a server starts; those of others stay.
func TestUnusedVectorsAreRemoved(t *testing.T) {
	data := t.TempDir()
	output(t, "demo", "--data", data, "--users", "5", "--lists", "10", "--no-text")
	gone := filepath.Join(filepath.Join(data, "vectors", "finetuned"), "vectors-0123456789abcdef.rvt")
	base := filepath.Join(data, "vectors", "vectors-0123456789abcdef.rvt")
	for _, path := range []string{gone, base} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("rows"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, "--data", data, "--no-text").stop(t)
	if _, err := os.Stat(gone); err == nil {
		t.Error("they are still there")
	}
	if _, err := os.Stat(base); err != nil {
		t.Error("another encoder's vectors are gone")
	}
}
