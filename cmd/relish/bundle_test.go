package main

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"

	"relish/internal/app"
)

// writePriorBundle writes a bundle of the prior's kind, which also weighs an imported column, into a data folder.
func writePriorBundle(t *testing.T, data string, weight float64) string {
	t.Helper()
	cfg := config.Default()
	cfg.Tables = []scorer.ColumnWeight{{Column: "shop.margin", Weight: weight}}
	m, err := app.PriorModel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := len(m.Schema.Columns())
	in := &ranker.SignalInput{Request: &ranker.Request{Candidates: []ranker.Candidate{{ID: "a"}}}, Now: 1,
		State: &ranker.RequestState{Items: make([]*ranker.ItemInfo, 1), Columns: make([]float32, n)}, ItemVectors: make([][]float32, 1)}
	for i := range in.State.Columns {
		in.State.Columns[i] = float32(math.NaN())
	}
	in.State.Columns[n-1] = 1.5
	c, err := bundle.RecordProbe(t.Context(), m, in)
	if err != nil {
		t.Fatal(err)
	}
	probe, err := bundle.EncodeProbe(nil, []bundle.ProbeCase{c})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := bundle.FormatSchema(m.Schema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := bundle.Write(filepath.Join(data, "bundles"), bundle.Manifest{
		Signals: []bundle.SignalFile{{Kind: "text"}, {Kind: "overlap"}}, Scorer: bundle.ScorerFile{Kind: bundle.ScorerPrior, File: "priors.json"},
	}, map[string][]byte{bundle.SchemaFile: schema, bundle.ProbeFile: probe, bundle.ReportFile: []byte("<title>report</title>"),
		"priors.json": fmt.Appendf(nil, `{"tables":[{"column":"shop.margin","weight":%g}]}`, weight)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *service) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// model ranks and returns which model did.
func (s *service) model(t *testing.T) string {
	t.Helper()
	status, answer := s.post(t, "/recommend", `{"user_id":"u","candidates":["film-001","book-001"],"record":false,"deadline_ms":5000}`)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	return answer["model"].(string)
}

// A bundle's life: found, activated by a call and by another process, rolled back, kept over a restart, refused, measured.
func TestBundlesAreServed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	a, b := writePriorBundle(t, dir, 1), writePriorBundle(t, dir, 2)
	s := serve(t, "--data", dir, "--no-text")
	if got := s.model(t); got != "prior" {
		t.Fatalf("%s ranks", got)
	}
	if status, answer := s.post(t, "/models/"+a+"/activate", ""); status != 200 || s.model(t) != a {
		t.Fatalf("%d %v", status, answer)
	}
	if err := bundle.Activate(filepath.Join(dir, "bundles"), b, "train", "better"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); s.model(t) != b; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server does not follow")
		}
	}
	if status, answer := s.post(t, "/models/rollback", ""); status != 200 || answer["active"] != a || s.model(t) != a {
		t.Errorf("%d %v", status, answer)
	}
	if status, page := s.get(t, "/models/"+a+"/report"); status != 200 || page != "<title>report</title>" {
		t.Errorf("%d %s", status, page)
	}
	if _, text := s.get(t, "/metrics"); !strings.Contains(text, `relish_active_model_info{version="`+a+`"} 1`) || !strings.Contains(text, "relish_bundle_refusals_total 0") {
		t.Errorf("metrics: %s", text)
	}
	s.stop(t)

	if out := output(t, "doctor", "--data", dir, "--no-text"); !strings.Contains(out, a+": active") || !strings.Contains(out, b+": checksums good") {
		t.Errorf("doctor printed %s", out)
	}
	for _, v := range []string{a, b, "prior"} {
		if out := output(t, "evaluate", "--data", dir, "--no-text", "--bundle", v); !strings.Contains(out, v) {
			t.Errorf("evaluate printed %s", out)
		}
	}
	if out := output(t, "evaluate", "--data", dir, "--no-text"); !strings.Contains(out, a) {
		t.Errorf("evaluate measures another one: %s", out)
	}
	if out, err := relish(t, "evaluate", "--data", dir, "--no-text", "--bundle", "nonsense").CombinedOutput(); err == nil || !strings.Contains(string(out), "no version") {
		t.Errorf("%v: %s", err, out)
	}

	// One flipped bit, found at the next start: the one before ranks, and everybody is told.
	path := filepath.Join(dir, "bundles", b, "probe.bin")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := bundle.Activate(filepath.Join(dir, "bundles"), b, "train", "better"); err != nil {
		t.Fatal(err)
	}
	s = serve(t, "--data", dir, "--no-text")
	if got := s.model(t); got != a {
		t.Errorf("%s ranks", got)
	}
	if _, text := s.get(t, "/models"); !strings.Contains(text, `"refused"`) || !strings.Contains(text, "probe.bin") {
		t.Errorf("/models: %s", text)
	}
	if status, text := s.get(t, "/health/ready"); status != 200 || !strings.Contains(text, "degraded: "+a) {
		t.Errorf("%d %s", status, text)
	}
	if status, answer := s.post(t, "/models/"+b+"/activate", ""); status != http.StatusConflict || s.model(t) != a {
		t.Errorf("%d %v", status, answer)
	}
	s.stop(t)
	if out, err := relish(t, "doctor", "--data", dir, "--no-text").CombinedOutput(); err == nil || !strings.Contains(string(out), "probe.bin") {
		t.Errorf("doctor: %v %s", err, out)
	}
}
