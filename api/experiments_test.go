package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/experiment"
	"relish/experiment/analysis"
	"relish/features/event"
	"relish/ranker"
)

const experiments = `
holdout: {share: 0.01}
layers:
- name: lists
  experiments:
  - name: spread
    condition: {device: {$ne: bot}}
    namespace: [home, 0, 0.5]
    end: 2100-01-01
    guardrails: [{metric: latency, margin: 0.1}]
    force: {secret-tester: diverse}
    arms: [{name: control}, {name: diverse, rules: {diversity: {lambda: 0.5, top: 9}}}]
`

func TestExperiments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	if err := os.WriteFile(path, []byte(experiments), 0o600); err != nil {
		t.Fatal(err)
	}
	watcher, err := experiment.Open(t.Context(), path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	service := start(t, func(o *api.Options) {
		o.Experiments = watcher
		o.Keys = []api.Key{key("web", "web-secret", "rank"), key("root", "root-secret", "admin")}
	})
	without := start(t, nil)
	for _, c := range []struct {
		path, web, root string
		has             []string
	}{
		{"/experiments", "forbidden", "", []string{
			`"version":"` + watcher.Status().Version + `"`, `"status":"running"`, `"forced":1`,
			`"changes":["rules.diversity"]`, `"namespace":["home",0,0.5]`, `"start":null`,
		}},
		{"/experiments/growthbook", "", "forbidden", []string{
			`"spread":{"defaultValue":null,"rules":[{"force":null,`,
			`"variations":["control","diverse"]`, `"condition":{"device":{"$ne":"bot"}}`,
		}},
	} {
		schema := service.answerSchema(c.path)
		for secret, refused := range map[string]string{"web-secret": c.web, "root-secret": c.root} {
			w := service.call("GET", c.path, "", "X-API-Key", secret)
			if refused != "" {
				wantError(t, w, 403, refused, "")
				continue
			}
			validate(t, c.path, schema, w.Body.Bytes())
			for _, part := range c.has {
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("%s: %s is not in %s", c.path, part, w.Body)
				}
			}
			if w.Code != 200 || strings.Contains(w.Body.String(), "secret-tester") {
				t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
			}
		}
		w := without.call("GET", c.path, "")
		validate(t, c.path+" without experiments", schema, w.Body.Bytes())
		if strings.Contains(w.Body.String(), `"loaded"`) {
			t.Errorf("%s without experiments: %s", c.path, w.Body)
		}
	}
}

// reporter analyses a small invented log. If entered is not nil, a report sends to it when it
// begins, and then waits for release.
type reporter struct {
	entered chan struct{}
	release chan struct{}
	err     error
}

func (r *reporter) Report(
	ctx context.Context, name, metric string, from, to time.Time,
) (api.ExperimentReport, error) {
	if r.entered != nil {
		r.entered <- struct{}{}
		<-r.release
	}
	if r.err != nil {
		return nil, r.err
	}
	log := func(yield func(event.Record, error) bool) {
		for u := range 100 {
			e := ranker.Event{
				Kind: ranker.EventImpression, ID: fmt.Sprint("l", u), Time: 1_767_225_600_000,
				UserID: fmt.Sprint("u", u),
				Impression: &ranker.Impression{
					Items:       []string{"a"},
					Experiments: map[string]string{"x": []string{"control", "treated"}[u%2]},
				},
			}
			if !yield(event.Record{Event: e}, nil) {
				return
			}
		}
	}
	report, err := analysis.Run(ctx, log, analysis.Options{
		Experiment: name, Metric: metric, From: from, To: to})
	switch {
	case errors.Is(err, analysis.ErrNoExposure):
		return nil, fmt.Errorf("%w: %w", api.ErrUnknownExperiment, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", api.ErrInvalidReport, err)
	}
	return report, nil
}

func TestExperimentReport(t *testing.T) {
	s := start(t, func(o *api.Options) { o.ExperimentReporter = &reporter{} })
	w := s.call("GET", "/experiments/x/report?from=2025-12-31&to=2026-01-02T00:00:00Z", "")
	var r struct {
		Experiment string `json:"experiment"`
		Arms       []struct {
			Users int `json:"users"`
		} `json:"arms"`
		Decision struct {
			Action string `json:"action"`
		} `json:"decision"`
	}
	err := json.Unmarshal(w.Body.Bytes(), &r)
	if err != nil || w.Code != http.StatusOK || r.Experiment != "x" || r.Arms[1].Users != 50 ||
		r.Decision.Action != "keep running" {
		t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, w := range []*httptest.ResponseRecorder{
		s.call("GET", "/experiments/x/report?format=html", ""),
		s.call("GET", "/experiments/x/report", "", "Accept", "text/html,*/*"),
	} {
		page := w.Body.String()
		if !strings.HasPrefix(page, "<!doctype html>") || !strings.Contains(page, "keep running") {
			t.Errorf("not an HTML report: %.100s", page)
		}
	}
	for _, c := range []struct {
		path   string
		status int
		code   string
	}{
		{"/experiments/y/report", 404, "not_found"},
		{"/experiments/x/report?metric=speed", 400, "invalid_field"},
		{"/experiments/x/report?from=today", 400, "invalid_field"},
		{"/experiments/x/report?to=2025-01-01", 404, "not_found"},
		{"/experiments/x/report?format=pdf", 400, "invalid_field"},
	} {
		wantError(t, s.call("GET", c.path, ""), c.status, c.code, "")
	}
	none := start(t, nil)
	wantError(t, none.call("GET", "/experiments/x/report", ""), 404, "not_found", "")
	slow := start(t, func(o *api.Options) {
		o.ExperimentReporter = &reporter{err: fmt.Errorf("reading: %w", context.DeadlineExceeded)}
	})
	wantError(t, slow.call("GET", "/experiments/x/report", ""), 503, "overloaded", "")
}

// Only one report runs at a time: it reads the whole log.
func TestOneReportAtATime(t *testing.T) {
	slow := &reporter{entered: make(chan struct{}), release: make(chan struct{})}
	s := start(t, func(o *api.Options) { o.ExperimentReporter = slow })
	first := make(chan int)
	go func() { first <- s.call("GET", "/experiments/x/report", "").Code }()
	<-slow.entered
	w := s.call("GET", "/experiments/x/report", "")
	wantError(t, w, http.StatusServiceUnavailable, "overloaded", "")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(slow.release)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first report: status %d", code)
	}
}
