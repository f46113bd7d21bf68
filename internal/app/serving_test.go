package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"relish/features"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
)

// A training beside a server activates no bundle for which the server computes other features, and
// says which keys differ.
func TestServerWithOtherBounds(t *testing.T) {
	data := t.TempDir()
	unlock, err := ingest.Lock(data)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	state := features.DefaultConfig()
	text, err := yaml.Marshal(servingConfig{State: state})
	if err == nil {
		err = os.WriteFile(filepath.Join(data, servingFile), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	schema, err := scorer.PriorSchema(state.Fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle.Bundle{Manifest: &bundle.Manifest{}, Model: &ranker.Model{Schema: schema}}
	if err := serverRefuses(data, state, b); err != nil {
		t.Errorf("the same state: %v", err)
	}
	trained := features.DefaultConfig()
	trained.Recent, trained.DedupeIDs = 50, 7
	err = serverRefuses(data, trained, b)
	if err == nil || !strings.Contains(err.Error(), "other values of state.recent. ") {
		t.Errorf("another bound: %v", err)
	}
}

// The advice to import through the server names the address on which it listens.
func TestAdviceNamesTheServer(t *testing.T) {
	data := t.TempDir()
	unlock, err := ingest.Lock(data)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	locked := fmt.Errorf("open: %w", &ingest.LockedError{Dir: data, Process: "7"})
	if err := AdviseServer(locked); !strings.Contains(err.Error(), "If that process is") {
		t.Errorf("an unknown process: %v", err)
	}
	text, err := yaml.Marshal(servingConfig{Address: "http://127.0.0.1:9123"})
	if err == nil {
		err = os.WriteFile(filepath.Join(data, servingFile), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = AdviseServer(locked)
	if !strings.Contains(err.Error(), "--server http://127.0.0.1:9123 ") ||
		!errors.Is(err, ingest.ErrLocked) {
		t.Errorf("a server: %v", err)
	}
	other := errors.New("another error")
	if err := AdviseServer(other); !errors.Is(err, other) || err.Error() != "another error" {
		t.Errorf("another error: %v", err)
	}
}

func TestLocalURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80", "0.0.0.0:8080": "http://127.0.0.1:8080",
		"[::]:8080": "http://127.0.0.1:8080", "[::1]:8080": "http://[::1]:8080",
		"192.0.2.7:1": "http://192.0.2.7:1",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := localURL(a); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

// Failures of every job are reported, and a full log is, and the service stays ready.
func TestReadinessNamesFailures(t *testing.T) {
	dir := t.TempDir()
	experiments := filepath.Join(dir, "experiments.yaml")
	if err := os.WriteFile(experiments, []byte("layers: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), Options{
		Config: config.Default(), Store: StoreOptions{Data: filepath.Join(dir, "d")},
		Encoder: EncoderOptions{NoText: true}, Experiments: experiments, MaxLogBytes: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(t.Context())
	if err := os.WriteFile(experiments, []byte("layers: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tables := filepath.Join(dir, "d", "tables")
	if err := os.RemoveAll(tables); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tables, []byte("a file in place of the folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, j := range a.jobs {
		if j.name != "experiments file" && j.name != "external tables" {
			continue
		}
		ctx, stop := context.WithCancel(t.Context())
		reported := error(nil)
		j.run(ctx, func(err error) { reported = err; a.health.report(j.name, err); stop() })
		if reported == nil {
			t.Errorf("the job %s reports no failure", j.name)
		}
	}
	click := ranker.Event{
		Kind: ranker.EventInteraction, ID: "e", UserID: "u", ItemID: "i", Action: "click",
	}
	_, err = a.engine.Store.Append(t.Context(), []ranker.Event{click})
	if !errors.Is(err, ranker.ErrLogFull) {
		t.Fatalf("a full log: %v", err)
	}
	named := map[string]string{}
	for _, check := range a.readiness() {
		if named[check.Name] = check.Detail; !check.OK {
			t.Errorf("%s is not ready: %s", check.Name, check.Detail)
		}
	}
	for _, name := range []string{"experiments file", "external tables", "log"} {
		if !strings.HasPrefix(named[name], "degraded: ") {
			t.Errorf("%s: %q", name, named[name])
		}
	}
}
