package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/features/event"
	"relish/features/trends"
	"relish/internal/alerts"
	"relish/ranker"
)

// counts answers queries from counts that do not change.
type counts struct{ *trends.Counts }

func (c counts) Counted() (fields, sources []string) { return c.Fields(), c.Sources() }

// newCounts counts two texts of this moment, one of them negative.
func newCounts() counts {
	c := trends.New([]string{"sentiment"}, []string{"view", "click"})
	now := time.Now().UnixMilli()
	for i, sentiment := range []string{"neutral", "negative"} {
		c.Apply(&event.Record{Seq: uint64(i + 1), Arrival: now, Event: ranker.Event{
			Kind: ranker.EventItem, ItemID: sentiment,
			Fields: map[string]ranker.FieldValue{"sentiment": ranker.StringValue(sentiment)},
		}})
	}
	return counts{c}
}

func TestTrends(t *testing.T) {
	s := start(t, func(o *api.Options) { o.Trends = newCounts() })
	for path, want := range map[string]int{
		"/trends?field=sentiment&by=hour":                  48,
		"/trends?field=sentiment&by=day&from=2020-01-01":   0,
		"/trends?field=sentiment&by=day":                   30,
		"/trends?field=sentiment&source=click&values=1":    48,
		"/trends?field=sentiment&from=2026-11-30T00:00:00": 0,
	} {
		w := s.call("GET", path, "")
		if want == 0 {
			wantError(t, w, 400, "invalid_field", "")
			continue
		}
		validate(t, path, s.answerSchema("/trends"), w.Body.Bytes())
		var got trends.Series
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Buckets) != want ||
			len(got.Totals) != want {
			t.Errorf("%s: %d %v %s", path, w.Code, err, w.Body)
		}
	}
	w := s.call("GET", "/trends?field=sentiment&values=1", "")
	validate(t, "others", s.answerSchema("/trends"), w.Body.Bytes())
	var got trends.Series
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Values) != 1 ||
		got.Values[0].Value != "negative" || got.Other == nil || got.Other.Count != 1 {
		t.Errorf("%v %s", err, w.Body)
	}
	w = s.call("GET", "/trends/fields", "")
	validate(t, "fields", s.answerSchema("/trends/fields"), w.Body.Bytes())
	const fields = `{"fields":["sentiment"],"sources":["items","view","click"]}`
	if body := w.Body.String(); body != fields {
		t.Errorf("/trends/fields: %s", body)
	}
	page := s.call("GET", "/console", "")
	body := page.Body.String()
	if page.Code != 200 || page.Header().Get("Content-Security-Policy") == "" ||
		strings.Contains(body, "://") &&
			strings.Count(body, "://") != strings.Count(body, "www.w3.org") {
		t.Errorf("/console: %d, or it names another server", page.Code)
	}
	for _, path := range []string{
		"/trends?field=topic", "/trends?field=sentiment&by=week",
		"/trends?field=sentiment&values=x", "/trends?field=sentiment&source=buy",
		"/trends?field=sentiment&values=0",
	} {
		wantError(t, s.call("GET", path, ""), 400, "invalid_field", "")
	}
	wantError(t, s.call("GET", "/trends", ""), 400, "missing_field", "")
	wantError(t, start(t, nil).call("GET", "/trends?field=a", ""), 404, "not_found", "")
}

// status is what an alerts.Monitor would know.
type status []alerts.Status

func (s status) Status() []alerts.Status { return s }

func TestAlerts(t *testing.T) {
	now := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	decision := alerts.Decision{State: alerts.Over, Reason: "0.6 is above 0.4", Value: .6}
	s := start(t, func(o *api.Options) {
		o.Alerts = status{
			{Name: "quiet", Episodes: []alerts.Episode{}, Decision: alerts.Decision{
				State: alerts.Quiet, Basis: "all hours", Windows: 30,
			}},
			{Name: "surge", Active: true, Decision: decision, Episodes: []alerts.Episode{
				{ID: "2", Started: now, Over: now, Decision: decision},
				{ID: "1", Started: now, Over: now, Ended: now, Decision: decision,
					Texts:    []alerts.Text{{ID: "i", Title: "t", Time: now}},
					Delivery: alerts.Delivery{State: alerts.Pending, Next: now, Error: "x"}},
			}},
		}
	})
	w := s.call("GET", "/alerts", "")
	validate(t, "/alerts", s.answerSchema("/alerts"), w.Body.Bytes())
	var got struct{ Alerts []alerts.Status }
	err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true))
	if err != nil || len(got.Alerts) != 2 || !got.Alerts[1].Active ||
		got.Alerts[1].Episodes[1].Texts[0].ID != "i" {
		t.Errorf("%v %s", err, w.Body)
	}
	if body := start(t, nil).call("GET", "/alerts", "").Body.String(); body != `{"alerts":[]}` {
		t.Errorf("without rules: %s", body)
	}
}
