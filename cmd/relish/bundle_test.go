package main

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/app"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
)

// writePriorBundle writes a bundle that ranks as the prior does and also weighs an external column.
// It returns the version.
func writePriorBundle(t *testing.T, data string, weight float64) string {
	t.Helper()
	cfg := config.Default()
	cfg.Tables = []scorer.ColumnWeight{{Column: "shop.margin", Weight: weight}}
	m, err := app.PriorModel(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := len(m.Schema.Columns())
	in := &ranker.SignalInput{
		Request: &ranker.Request{Candidates: []ranker.Candidate{{ID: "a"}}}, Now: 1,
		State: &ranker.RequestState{Items: make([]*ranker.ItemInfo, 1),
			Columns: make([]float32, n)},
		ItemVectors: make([][]float32, 1),
	}
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
	manifest := bundle.Manifest{
		Signals: []bundle.SignalFile{{Kind: "text"}, {Kind: "overlap"}},
		Scorer:  bundle.ScorerFile{Kind: bundle.ScorerPrior, File: "priors.json"},
	}
	v, err := bundle.Write(filepath.Join(data, "bundles"), manifest, map[string][]byte{
		bundle.SchemaFile: schema, bundle.ProbeFile: probe,
		bundle.ReportFile: []byte("<title>report</title>"),
		"priors.json": fmt.Appendf(nil, `{"tables":[{"column":"shop.margin","weight":%g}]}`,
			weight),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// model ranks and returns the model that did.
func (s *service) model(t *testing.T) string {
	t.Helper()
	const request = `{"user_id":"u","candidates":["film-001","book-001"],"record":false,
		"deadline_ms":10000}`
	status, answer := s.post(t, "/recommend", request)
	if status != http.StatusOK {
		t.Fatalf("/recommend answers %d: %v", status, answer)
	}
	return answer["model"].(string)
}

// TestBundlesAreServed follows two bundles. They are activated by a request and by another process,
// rolled back, kept over a restart, measured, and refused when they are damaged.
func TestBundlesAreServed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	first, second := writePriorBundle(t, dir, 1), writePriorBundle(t, dir, 2)
	s := serve(t, "--data", dir, "--no-text")
	if got := s.model(t); got != "prior" {
		t.Fatalf("%s ranks, want the prior", got)
	}
	if status, answer := s.post(t, "/models/"+first+"/activate", ""); status != 200 ||
		s.model(t) != first {
		t.Fatalf("activation answers %d: %v", status, answer)
	}
	root := filepath.Join(dir, "bundles")
	if err := bundle.Activate(root, second, "train", "better"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bundle that another process activated ranks",
		func() bool { return s.model(t) == second })
	status, answer := s.post(t, "/models/rollback", "")
	if status != 200 || answer["active"] != first || s.model(t) != first {
		t.Errorf("rollback answers %d: %v", status, answer)
	}
	if status, page := s.get(t, "/models/"+first+"/report"); status != 200 ||
		page != "<title>report</title>" {
		t.Errorf("the model card answers %d: %s", status, page)
	}
	_, metrics := s.get(t, "/metrics")
	for _, want := range []string{`relish_active_model_info{version="` + first + `"} 1`,
		"relish_bundle_refusals_total 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	s.stop(t)

	out := output(t, "doctor", "--data", dir, "--no-text")
	if !strings.Contains(out, first+": active") ||
		!strings.Contains(out, second+": checksums good") {
		t.Errorf("doctor prints %s", out)
	}
	for _, v := range []string{first, second, "prior"} {
		out := output(t, "evaluate", "--data", dir, "--no-text", "--bundle", v)
		if !strings.Contains(out, v) {
			t.Errorf("evaluate --bundle %s prints %s", v, out)
		}
	}
	if out := output(t, "evaluate", "--data", dir, "--no-text"); !strings.Contains(out, first) {
		t.Errorf("evaluate does not measure the active bundle %s: %s", first, out)
	}

	checkDamagedBundle(t, dir, first, second)
}

// checkDamagedBundle flips a bit of the second bundle and activates it. At its next start, the
// service ranks with the first one and says why. Doctor names the file.
func checkDamagedBundle(t *testing.T, dir, first, second string) {
	t.Helper()
	path := filepath.Join(dir, "bundles", second, "probe.bin")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "bundles")
	if err := bundle.Activate(root, second, "train", "better"); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--data", dir, "--no-text")
	if got := s.model(t); got != first {
		t.Errorf("%s ranks, want %s", got, first)
	}
	if _, models := s.get(t, "/models"); !strings.Contains(models, `"refused"`) ||
		!strings.Contains(models, "probe.bin") {
		t.Errorf("/models answers %s", models)
	}
	if status, ready := s.get(t, "/health/ready"); status != 200 ||
		!strings.Contains(ready, "degraded: "+first) {
		t.Errorf("/health/ready answers %d: %s", status, ready)
	}
	status, answer := s.post(t, "/models/"+second+"/activate", "")
	if status != http.StatusConflict || s.model(t) != first {
		t.Errorf("the activation of a damaged bundle answers %d: %v", status, answer)
	}
	s.stop(t)
	out := mustFail(t, 1, "doctor", "--data", dir, "--no-text")
	if !strings.Contains(out, "probe.bin") {
		t.Errorf("doctor prints %s", out)
	}
}
