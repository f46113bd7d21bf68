package app

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relish/internal/config"
)

// A job that panics is logged and started again.
func TestJobIsStartedAgainAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		a := &App{log: slog.New(slog.NewTextHandler(&logs, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		runs, start := 0, time.Now()
		a.runJob(ctx, job{"test", func(ctx context.Context) {
			if runs++; runs == 1 {
				panic("broken")
			}
			cancel()
			<-ctx.Done()
		}})
		if runs != 2 || time.Since(start) != jobRestart ||
			!strings.Contains(logs.String(), "job=test") {
			t.Errorf("%d runs in %v; logged %s", runs, time.Since(start), logs.String())
		}
	})
}

// An engine that cannot be opened is nil, and its folder is free again.
func TestOpenEngineReturnsNilWithAnError(t *testing.T) {
	dir := t.TempDir()
	tables := filepath.Join(dir, "tables")
	if err := os.Mkdir(tables, 0o755); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(tables, "taken.json")
	if err := os.WriteFile(taken, []byte("{x"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := OpenEngine(t.Context(), EngineOptions{
		Store: StoreOptions{Data: dir}, Config: config.Default(),
		Encoder: EncoderOptions{NoText: true}, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || e != nil {
		t.Fatalf("OpenEngine returned %v, %v", e, err)
	}
	unlock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
