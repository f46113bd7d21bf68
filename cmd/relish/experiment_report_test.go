package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

type reportAnswer struct {
	Metric string
	Arms   []struct {
		Name  string
		Users int
	}
	Comparisons []struct {
		Lift struct{ Value, Low, High float64 }
	}
	Verdict struct{ Decision, Arm, Words string }
}

// From the demo's log with a planted lift to a shipped arm: the report finds it, promotion gives it to all,
// and the server tells the same.
func TestReportAndPromote(t *testing.T) {
	dir := t.TempDir()
	data, file, page := filepath.Join(dir, "d"), filepath.Join(dir, "experiments.yaml"), filepath.Join(dir, "r.html")
	if err := os.WriteFile(file, []byte(plantedExperiment), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "demo", "--data", data, "--no-text", "--planted-lift", "0.5", "--users", "600", "--lists", "8000", "--seed", "2")
	var r reportAnswer
	if err := json.Unmarshal([]byte(output(t, "experiment", "report", "planted-lift", "--data", data, "--metric", "ctr", "--json", "--html", page)), &r); err != nil {
		t.Fatal(err)
	}
	if lift := r.Comparisons[0].Lift; r.Verdict.Decision != "ship" || r.Verdict.Arm != "treated" || lift.Low < 0.2 || lift.High > 0.5 || r.Arms[0].Users+r.Arms[1].Users > 600 {
		t.Errorf("%+v", r)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "Ship treated") {
		t.Errorf("%v: %.200s", err, html)
	}

	s := serve(t, "--data", data, "--no-text", "--experiments", file)
	resp, err := http.Get(s.url + "/experiments/planted-lift/report")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &r); err != nil || resp.StatusCode != http.StatusOK || r.Metric != "reward:click + 2*purchase" || r.Verdict.Decision != "ship" {
		t.Errorf("%d %v: %s", resp.StatusCode, err, body)
	}
	if got := s.arms(t, "anybody")["planted-lift"]; got != "control" && got != "treated" {
		t.Errorf("arm %q", got)
	}

	promote := []string{"experiment", "promote", "planted-lift", "--data", data, "--experiments", file}
	refused := relish(t, append(promote, "--min-days", "300")...)
	out, err := refused.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not promoted. Keep running") {
		t.Errorf("%v: %s", err, out)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != plantedExperiment {
		t.Errorf("a refused promotion changed the file: %v\n%s", err, now)
	}
	if out := output(t, promote...); !strings.Contains(out, "treated gets every user") {
		t.Error(out)
	}
	s.waitForExperiments(t, "the promoted file", func(a experimentsAnswer) bool {
		return a.Error == "" && s.arms(t, "anybody")["planted-lift"] == "treated"
	})
	s.stop(t)

	output(t, append(promote, "--force", "legal wants it back", "--arm", "control")...)
	now, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(now), "because: legal wants it back") {
		t.Errorf("%v\n%s", err, now)
	}
}

func TestReportRefusals(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "experiments.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(plantedExperiment, "    metric", "    hash_attribute: tenant\n    metric", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "demo", "--data", data, "--no-text", "--planted-lift", "0.5", "--users", "20", "--lists", "50")
	for _, c := range []struct {
		want string
		code int
		args []string
	}{
		{"no impression of the log is exposed", 1, []string{"experiment", "report", "other", "--data", data}},
		{"assigns by the context field \"tenant\"", 1, []string{"experiment", "report", "planted-lift", "--data", data, "--experiments", file}},
		{"is not in the experiments file", 1, []string{"experiment", "report", "x", "--data", data, "--experiments", file}},
		{"--from", 2, []string{"experiment", "report", "planted-lift", "--data", data, "--from", "yesterday"}},
		{"name the experiments file to change with --experiments FILE", 2, []string{"experiment", "promote", "planted-lift", "--data", data}},
		{"--policy needs --on-policy-log", 2, []string{"evaluate", "--data", data, "--no-text", "--policy", "prior"}},
		{"no estimate for prior: the log agrees too rarely", 1, []string{"evaluate", "--data", data, "--no-text", "--policy", "prior", "--on-policy-log", "--last", "1"}},
	} {
		cmd := relish(t, c.args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: exit %d\n%s", c.args, cmd.ProcessState.ExitCode(), out)
		}
	}
}

func TestSimulate(t *testing.T) {
	out := output(t, "experiment", "simulate", "aa", "--runs", "40", "--users", "200", "--days", "8", "--json")
	var counts []struct {
		What string
		Runs int
		OK   bool
	}
	if err := json.Unmarshal([]byte(out), &counts); err != nil || len(counts) < 4 || counts[0].Runs != 40 || !counts[0].OK {
		t.Errorf("%v: %s", err, out)
	}
}
