package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/experiment/analysis"
	"relish/features/event"
)

// reporting makes real reports from a made-up log.
type reporting struct {
	entered chan struct{} // nil, or told when a report is under way, which then waits for release
	release chan struct{}
	err     error
}

func (r *reporting) Report(ctx context.Context, name, metric string, from, to time.Time) (api.ExperimentReport, error) {
	if r.entered != nil {
		r.entered <- struct{}{}
		<-r.release
	}
	if r.err != nil {
		return nil, r.err
	}
	log := func(yield func(event.Record, error) bool) {
		for u := range 100 {
			e := event.Event{Kind: event.EventImpression, ID: fmt.Sprint("l", u), Time: 1_767_225_600_000, UserID: fmt.Sprint("u", u), Shown: []string{"a"},
				Experiments: map[string]string{"x": []string{"control", "treated"}[u%2]}}
			if !yield(event.Record{Event: e}, nil) {
				return
			}
		}
	}
	report, err := analysis.Run(ctx, log, analysis.Options{Experiment: name, Metric: metric, From: from, To: to})
	switch {
	case errors.Is(err, analysis.ErrNoExposure):
		return nil, fmt.Errorf("%w: %w", api.ErrUnknownExperiment, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", api.ErrInvalidReport, err)
	}
	return report, nil
}

func TestReport(t *testing.T) {
	s := start(t, func(o *api.Options) { o.ExperimentReporter = &reporting{} })
	w := s.call("GET", "/experiments/x/report?from=2025-12-31&to=2026-01-02T00:00:00Z", "")
	var r struct {
		Experiment string `json:"experiment"`
		Arms       []struct {
			Users int `json:"users"`
		} `json:"arms"`
		Verdict struct {
			Decision string `json:"decision"`
		} `json:"verdict"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != http.StatusOK || r.Experiment != "x" || r.Arms[1].Users != 50 || r.Verdict.Decision != "keep running" {
		t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, page := range []string{s.call("GET", "/experiments/x/report?format=html", "").Body.String(), s.call("GET", "/experiments/x/report", "", "Accept", "text/html,*/*").Body.String()} {
		if !strings.HasPrefix(page, "<!doctype html>") || !strings.Contains(page, "keep running") {
			t.Errorf("no page: %.100s", page)
		}
	}
	wantError(t, s.call("GET", "/experiments/y/report", ""), http.StatusNotFound, "not_found", "")
	wantError(t, s.call("GET", "/experiments/x/report?metric=speed", ""), http.StatusBadRequest, "invalid_field", "")
	wantError(t, s.call("GET", "/experiments/x/report?from=today", ""), http.StatusBadRequest, "invalid_field", "")
	wantError(t, s.call("GET", "/experiments/x/report?to=2025-01-01", ""), http.StatusNotFound, "not_found", "")
	wantError(t, s.call("GET", "/experiments/x/report?format=pdf", ""), http.StatusBadRequest, "invalid_field", "")
	wantError(t, start(t, nil).call("GET", "/experiments/x/report", ""), http.StatusNotFound, "not_found", "")
	slow := start(t, func(o *api.Options) {
		o.ExperimentReporter = &reporting{err: fmt.Errorf("reading: %w", context.DeadlineExceeded)}
	})
	wantError(t, slow.call("GET", "/experiments/x/report", ""), http.StatusServiceUnavailable, "overloaded", "")
}

// A report reads the whole log, so that a second one at a time is put off.
func TestOneReportAtATime(t *testing.T) {
	slow := &reporting{entered: make(chan struct{}), release: make(chan struct{})}
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
