package api_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// The service makes the id of each answer and impression. An id of the caller comes back in the
// header, and may come any number of times.
func TestRequestID(t *testing.T) {
	s := start(t, nil)
	seen := map[string]bool{}
	for id, valid := range map[string]bool{
		"req-1": true, "a b": true, strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false, "tab\there": false, "": false,
	} {
		w := s.call("POST", "/recommend", ranking, "X-Request-Id", id)
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		got := w.Header().Get("X-Request-Id")
		if (got == id) != valid || !valid && got != a.RequestID {
			t.Errorf("%q became %q, in the body %q", id, got, a.RequestID)
		}
		if a.RequestID == id || a.RequestID == "" || seen[a.RequestID] {
			t.Errorf("the answer to %q has the id %q", id, a.RequestID)
		}
		seen[a.RequestID] = true
	}
}

// Ids, texts and keys of a client reach neither the log nor a metric.
func TestNoClientDataIsLogged(t *testing.T) {
	const canary = "canary-7f3a"
	s := start(t, nil)
	fill := func(body string) string { return strings.ReplaceAll(body, "CANARY", canary) }
	for _, c := range [][3]string{
		{"POST", "/recommend", `{"user_id":"CANARY","session":"CANARY","context":{"query":"CANARY"},
		  "candidates":["CANARY",{"id":"x","title":"CANARY"}]}`},
		{"POST", "/recommend", with(`"CANARY":1`)},
		{"POST", "/recommend", with(`"model":"CANARY"`)},
		{"POST", "/recommend", "CANARY"},
		{"POST", "/feedback", `{"type":"interaction","id":"CANARY","user":"CANARY",
		  "item":"CANARY","action":"CANARY"}`},
		{"POST", "/feedback", `{"type":"CANARY"}`},
		{"PUT", "/items", `{"id":"CANARY","title":"CANARY"}`},
		{"GET", "/items/CANARY", ``},
		{"DELETE", "/items/CANARY", ``},
		{"PUT", "/users/CANARY", `{"fields":{"CANARY":"CANARY"}}`},
		{"DELETE", "/users/CANARY", ``},
		{"POST", "/rerank", `{"query":"CANARY","texts":["CANARY"]}`},
		{"POST", "/labels/CANARY", `{"texts":["CANARY"]}`},
		{"POST", "/rank/CANARY",
			`{"id":"CANARY","timestamp":1,"user":"CANARY","items":[{"id":"CANARY"}]}`},
		{"GET", "/CANARY?q=CANARY", ``},
	} {
		s.call(c[0], fill(c[1]), fill(c[2]),
			"Authorization", "Bearer "+canary, "User-Agent", canary, "X-Forwarded-For", canary)
	}
	logs := s.logs.String()
	if strings.Contains(logs, canary) || !strings.Contains(logs, "/recommend") {
		t.Errorf("logs:\n%s", logs)
	}
	metrics := s.call("GET", "/metrics", "").Body.String()
	if strings.Contains(metrics, canary) || !strings.Contains(metrics, "relish_request_seconds") {
		t.Error("the metrics contain a client's data, or lack relish_request_seconds")
	}
}

// The number of series does not grow with what clients send.
func TestMetricsAreBounded(t *testing.T) {
	s := start(t, nil)
	lines := func() int { return strings.Count(s.call("GET", "/metrics", "").Body.String(), "\n") }
	one := func(i int) {
		s.call("GET", fmt.Sprintf("/path-%d", i), "")
		s.call("GET", fmt.Sprintf("/items/item-%d", i), "")
		body := fmt.Sprintf(`{"user_id":"user-%d","candidates":["item-%d"]}`, i, i)
		s.call("POST", "/recommend", body)
		s.call("POST", fmt.Sprintf("/rank/model-%d", i), `{}`)
		s.call(fmt.Sprintf("M%d", i), "/recommend", "")
	}
	one(0)
	lines() // so that its own series exist
	before := lines()
	for i := range 300 {
		one(i)
	}
	if after := lines(); after != before {
		t.Errorf("the metrics grew from %d to %d lines", before, after)
	}
}

// metric returns the value of a metric without labels.
func (s *service) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.Lines(s.call("GET", "/metrics", "").Body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			x, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
