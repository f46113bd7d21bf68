package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/features/ingest"
)

const plantedExperiment = `
layers:
- name: l
  experiments:
  - name: planted-lift
    metric: reward:click + 2*purchase
    guardrails: [{metric: diversity, margin: 0.05}]
    arms: [{name: control}, {name: treated, text: false}]
`

// reportAnswer is what the test reads of a report.
type reportAnswer struct {
	Metric string
	Arms   []struct {
		Name  string
		Users int
	}
	Comparisons []struct {
		Lift struct{ Value, Low, High float64 }
	}
	Decision struct{ Action, Arm string }
}

// TestReportAndPromote analyses a log with a planted lift. The report finds the lift, from the
// command line and from the service. Promotion gives the arm to every user of the running service.
func TestReportAndPromote(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "experiments.yaml")
	if err := os.WriteFile(file, []byte(plantedExperiment), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "demo", "--data", data, "--no-text", "--planted-lift", "0.5", "--users", "600",
		"--lists", "8000", "--seed", "2")
	checkReport(t, data, filepath.Join(dir, "report.html"))
	checkEventsCountOnce(t, data)

	s := serve(t, "--data", data, "--no-text", "--experiments", file)
	status, body := s.get(t, "/experiments/planted-lift/report")
	var r reportAnswer
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK || r.Metric != "reward:click + 2*purchase" ||
		r.Decision.Action != "ship" {
		t.Errorf("the report answers %d: %s", status, body)
	}
	if got := s.arms(t, "anybody")["planted-lift"]; got != "control" && got != "treated" {
		t.Errorf("a user gets arm %q", got)
	}

	promote := []string{"experiment", "promote", "planted-lift", "--data", data, "--experiments",
		file}
	out := mustFail(t, 1, append(promote, "--min-days", "300")...)
	if !strings.Contains(out, "not promoted. Keep running") {
		t.Errorf("a promotion before --min-days prints %s", out)
	}
	if now := readFile(t, file); now != plantedExperiment {
		t.Errorf("a refused promotion changed the file:\n%s", now)
	}
	if out := output(t, promote...); !strings.Contains(out, "treated gets every user") {
		t.Errorf("the promotion prints %s", out)
	}
	s.waitForExperiments(t, "the promoted file", func(a experimentsAnswer) bool {
		return a.Error == "" && s.arms(t, "anybody")["planted-lift"] == "treated"
	})
	s.stop(t)

	output(t, append(promote, "--force", "legal wants it back", "--arm", "control")...)
	if now := readFile(t, file); !strings.Contains(now, "because: legal wants it back") {
		t.Errorf("a forced promotion does not record its reason:\n%s", now)
	}
}

// checkEventsCountOnce reports on the log together with another log that has the same events. A
// client that got no answer sends an event again, and another replica takes it.
func checkEventsCountOnce(t *testing.T, data string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "d")
	if err := os.CopyFS(filepath.Join(copied, "log"), os.DirFS(ingest.LogDir(data))); err != nil {
		t.Fatal(err)
	}
	report := []string{"experiment", "report", "planted-lift", "--data", data, "--json"}
	once, twice := output(t, report...), output(t, append(report, "--log", copied)...)
	if once != twice {
		t.Errorf("with every event in a second log the report is\n%s\nwant\n%s", twice, once)
	}
}

// checkReport reports on the planted experiment by its click-through rate, as JSON and as a page.
func checkReport(t *testing.T, data, page string) {
	t.Helper()
	out := output(t, "experiment", "report", "planted-lift", "--data", data, "--metric", "ctr",
		"--json", "--html", page)
	var r reportAnswer
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Decision.Action != "ship" || r.Decision.Arm != "treated" {
		t.Errorf("the decision is %+v, want to ship treated", r.Decision)
	}
	if lift := r.Comparisons[0].Lift; lift.Low < 0.2 || lift.High > 0.5 {
		t.Errorf("the lift is %+v, want an interval within 0.2 to 0.5", lift)
	}
	if users := r.Arms[0].Users + r.Arms[1].Users; users > 600 {
		t.Errorf("%d users, want at most 600", users)
	}
	if html := readFile(t, page); !strings.Contains(html, "Ship treated") {
		t.Errorf("the page does not say to ship treated: %.200s", html)
	}
}
