package api_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/features/event"
	"relish/features/trends"
	"relish/ranker"
)

// counts answers queries from counts that do not change.
type counts struct{ *trends.Counts }

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
	for _, path := range []string{
		"/trends?field=topic", "/trends?field=sentiment&by=week", "/trends?field=sentiment&values=x",
		"/trends?field=sentiment&source=buy", "/trends?field=sentiment&values=0",
	} {
		wantError(t, s.call("GET", path, ""), 400, "invalid_field", "")
	}
	wantError(t, s.call("GET", "/trends", ""), 400, "missing_field", "")
	wantError(t, start(t, nil).call("GET", "/trends?field=a", ""), 404, "not_found", "")
}
