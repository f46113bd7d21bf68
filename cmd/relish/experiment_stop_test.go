package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relish/experiment"
	"relish/ranker"
)

const harmfulExperiment = `
layers:
- name: l
  experiments:
  - name: planted-lift
    metric: conversion
    guardrails: [{metric: ctr, margin: 0.05}]
    auto_stop: guardrail
    arms: [{name: treated}, {name: control, text: false}] # the demo's treated arm is the better one
- name: m
  experiments:
  - name: not-begun
    metric: conversion
    guardrails: [{metric: ctr, margin: 0.05}]
    auto_stop: guardrail
    arms: [{name: control}, {name: other, deadline_ms: 90}]
`

// An arm that hurts its guardrail is ended: its users get the first arm, nobody counts them, it stays so after a restart, and
// the report ends where the arm did.
func TestHarmfulArmIsStopped(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "experiments.yaml")
	if err := os.WriteFile(file, []byte(harmfulExperiment), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "demo", "--data", data, "--no-text", "--planted-lift", "0.5", "--users", "600", "--lists", "6000", "--seed", "2")
	open := func() *experiment.Watcher {
		k, err := experiment.Open(file, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := k.LoadStoppedArms(stopsFile(data)); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	now := time.Now()
	for range 2 { // the second look has nothing to do
		if err := stopNow(t.Context(), k, data, now); err != nil {
			t.Fatal(err)
		}
	}
	if s := k.StoppedArms(); len(s) != 1 || s[0].Arm != "control" || !strings.Contains(s[0].Reason, "ctr") {
		t.Fatalf("stops: %+v", s)
	}
	k = open()
	arms := map[string]bool{}
	for _, user := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
		trials, _ := k.Assign(&ranker.Request{User: user}, nil, now.UnixMilli())
		for _, tr := range trials {
			if tr.Experiment != "planted-lift" {
				continue
			}
			arms[tr.Arm.Name] = true
			if tr.Arm.Name != "treated" {
				t.Errorf("%s still sees %s", user, tr.Arm.Name)
			}
			if tr.Forced {
				arms["stopped"] = true
			}
		}
	}
	if !arms["treated"] || !arms["stopped"] {
		t.Errorf("twelve users saw %v", arms)
	}
	status, err := json.Marshal(k.Status())
	if err != nil || !strings.Contains(string(status), "stopped "+now.UTC().Format(time.RFC3339)) {
		t.Errorf("%v: %s", err, status)
	}
	if _, there := k.GrowthBook().Features["planted-lift"]; there {
		t.Error("frontends are still told of it")
	}
	r, err := reports{data, k}.run(t.Context(), "planted-lift", "", time.Time{}, time.Time{})
	if err != nil || len(r.GuardrailBreaches()) != 1 {
		t.Errorf("the report after the stop: %v, %+v", err, r.GuardrailBreaches())
	}
}
