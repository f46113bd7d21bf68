package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

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
		a.jobs = []job{{"test", func(ctx context.Context, report func(error)) {
			if runs++; runs == 1 {
				panic("broken")
			}
			if checks := a.jobChecks(); len(checks) != 1 || checks[0].Name != "test" ||
				!checks[0].OK || strings.Contains(checks[0].Detail, "\n") {
				t.Errorf("checks after the panic: %+v", checks)
			}
			report(errors.New("some reason"))
			if checks := a.jobChecks(); !strings.Contains(checks[0].Detail, "some reason") {
				t.Errorf("checks after an error: %+v", checks)
			}
			report(nil)
			cancel()
			<-ctx.Done()
		}}}
		registry := prometheus.NewRegistry()
		registerJobs(registry, a.jobs, &a.health)
		a.runJob(ctx, a.jobs[0])
		if len(a.jobChecks()) > 0 || a.health.count("test") != 2 {
			t.Errorf("%d failures; checks %+v", a.health.count("test"), a.jobChecks())
		}
		want := `relish_job_failures_total{job="test"} 2`
		scrape := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(
			scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(scrape.Body.String(), want) {
			t.Errorf("no %s in %s", want, scrape.Body)
		}
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
