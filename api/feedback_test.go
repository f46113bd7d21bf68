package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/features/event"
)

func TestFeedbackShapes(t *testing.T) {
	const native = `{"type":"interaction","id":"%s","user":"u","item":"a","action":"click"}`
	metarank := `{"event":"interaction","id":"m1","timestamp":"1599391467000","user":"user1","session":"s1","type":"purchase","item":"item1","fields":[{"name":"count","value":1}]}`
	e := func(id string) string { return fmt.Sprintf(native, id) }
	for name, c := range map[string]struct {
		body, contentType              string
		accepted, duplicates, rejected int
	}{
		"one event":                     {e("1"), "application/json", 1, 0, 0},
		"an array":                      {"[" + e("1") + "," + e("2") + "]", "application/json", 2, 0, 0},
		"one event per line":            {e("1") + "\n" + e("2") + "\n", "application/x-ndjson", 2, 0, 0},
		"a browser's beacon":            {e("1"), "text/plain;charset=UTF-8", 1, 0, 0},
		"metarank":                      {metarank, "application/json", 1, 0, 0},
		"native and metarank":           {"[" + metarank + "," + e("1") + "]", "application/json", 2, 0, 0},
		"a repeated id":                 {"[" + e("1") + "," + e("1") + "]", "application/json", 1, 1, 0},
		"empty array":                   {"[]", "application/json", 0, 0, 0},
		"some invalid":                  {"[" + e("1") + `,{"type":"interaction","id":"2"},7,` + e("3") + "]", "application/json", 2, 0, 2},
		"all invalid":                   {`{"type":"dance"}`, "application/json", 0, 0, 1},
		"an action that is not counted": {strings.Replace(e("1"), "click", "waves", 1), "application/json", 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, nil).call("POST", "/feedback", c.body, "Content-Type", c.contentType)
			var got struct {
				Accepted, Duplicates int
				Rejected             []map[string]any
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got, json.MatchCaseInsensitiveNames(true)); err != nil {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if w.Code != 200 || got.Accepted != c.accepted || got.Duplicates != c.duplicates || len(got.Rejected) != c.rejected {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			for _, r := range got.Rejected {
				if r["code"] == "" || r["message"] == "" {
					t.Errorf("a rejection without a code or a message: %v", r)
				}
			}
		})
	}
	s := start(t, nil)
	wantError(t, s.call("POST", "/feedback", "[1,2", "Content-Type", "application/json"), 400, "malformed", "")
	wantError(t, s.call("POST", "/feedback", e("1")+"x"), 400, "malformed", "")
	wantError(t, s.call("POST", "/feedback", e("1"), "Content-Type", "text/html"), 415, "unsupported_media_type", "")
}

func TestStorageErrors(t *testing.T) {
	s := start(t, nil)
	const click = `{"type":"interaction","id":"1","user":"u","item":"a","action":"click"}`
	s.events.err = fmt.Errorf("%w: of a test", event.ErrLogFull)
	wantError(t, s.call("POST", "/feedback", click), 507, "log_full", "")
	s.events.err = fmt.Errorf("%w: of a test", event.ErrLogUnavailable)
	w := s.call("POST", "/feedback", click)
	wantError(t, w, 503, "log_unavailable", "")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantError(t, s.call("PUT", "/users/u", `{"fields":{"a":1}}`), 503, "log_unavailable", "")
	// A ranking does not need the log.
	if w := s.call("POST", "/recommend", `{"user_id":"u","candidates":["a"]}`); w.Code != 200 {
		t.Error(w.Body)
	}
}
