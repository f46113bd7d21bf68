package app

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relish/experiment"
	"relish/internal/demo"
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
    arms: [{name: treated}, {name: control, text: false}] # the demo plants the lift in arm treated
- name: m
  experiments:
  - name: not-exposed
    metric: conversion
    guardrails: [{metric: ctr, margin: 0.05}]
    auto_stop: guardrail
    arms: [{name: control}, {name: other, deadline_ms: 90}]
`

// TestGuardrailStopsArm checks the guardrails of an experiment in which one arm is harmful. Its
// users get the first arm, frontends do not hear of the experiment any more, and the report ends
// where the arm ended. All that still holds after a restart.
func TestGuardrailStopsArm(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "d"), filepath.Join(dir, "experiments.yaml")
	if err := os.WriteFile(file, []byte(harmfulExperiment), 0o600); err != nil {
		t.Fatal(err)
	}
	fillFolder(t, data, demo.Options{Seed: 2, Users: 600, Lists: 6000, PlantedLift: 0.5})
	log := slog.New(slog.DiscardHandler)
	open := func() *experiment.Watcher {
		watcher, err := experiment.Open(t.Context(), file, nil, log)
		if err != nil {
			t.Fatal(err)
		}
		if err := watcher.LoadStoppedArms(StoppedArmsFile(data)); err != nil {
			t.Fatal(err)
		}
		return watcher
	}
	watcher := open()
	now := time.Now()
	for range 2 { // the second check has nothing to do
		if err := (guardrails{watcher, data, log}).check(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	stopped := watcher.StoppedArms()
	if len(stopped) != 1 || stopped[0].Arm != "control" ||
		!strings.Contains(stopped[0].Reason, "ctr") {
		t.Fatalf("stopped arms: %+v, want control because of ctr", stopped)
	}

	watcher = open()
	checkAssignments(t, watcher, now)
	status, err := json.Marshal(watcher.Status())
	if err != nil || !strings.Contains(string(status), "stopped "+now.UTC().Format(time.RFC3339)) {
		t.Errorf("status: %v: %s", err, status)
	}
	if _, found := watcher.GrowthBook().Features["planted-lift"]; found {
		t.Error("the GrowthBook payload still has the experiment")
	}
	report, err := reporter{data, watcher}.analyse(t.Context(), "planted-lift", "", time.Time{},
		time.Time{})
	if err != nil || len(report.GuardrailBreaches()) != 1 {
		t.Errorf("the report after the stop: %v, %+v", err, report.GuardrailBreaches())
	}
}

// checkAssignments assigns users: all get the arm that was not stopped, and some were moved to it.
func checkAssignments(t *testing.T, watcher *experiment.Watcher, now time.Time) {
	t.Helper()
	treated, moved := 0, 0
	for _, user := range strings.Split("abcdefghijkl", "") {
		assignments, _ := watcher.Assign(&ranker.Request{User: user}, nil, now.UnixMilli())
		for _, a := range assignments {
			if a.Experiment != "planted-lift" {
				continue
			}
			if a.Arm.Name != "treated" {
				t.Errorf("user %s still gets arm %s", user, a.Arm.Name)
			}
			treated++
			if a.Forced {
				moved++
			}
		}
	}
	if treated != 12 || moved == 0 {
		t.Errorf("of 12 users, %d get arm treated and %d were moved to it", treated, moved)
	}
}
