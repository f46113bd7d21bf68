package api_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"relish/api"
	"relish/ranker"
)

// click returns an interaction event with this id.
func click(id string) string {
	return `{"type":"interaction","id":"` + id + `","user":"u","item":"a","action":"click"}`
}

func TestFeedbackShapes(t *testing.T) {
	const metarank = `{"event":"interaction","id":"m1","timestamp":"1599391467000",` +
		`"user":"user1","session":"s1","type":"purchase","item":"item1",` +
		`"fields":[{"name":"count","value":1}]}`
	incomplete := `{"type":"interaction","id":"2"}`
	array := func(events ...string) string { return "[" + strings.Join(events, ",") + "]" }
	for name, c := range map[string]struct {
		body                           string
		accepted, duplicates, rejected int
	}{
		"one event":           {click("1"), 1, 0, 0},
		"an array":            {array(click("1"), click("2")), 2, 0, 0},
		"metarank":            {metarank, 1, 0, 0},
		"native and metarank": {array(metarank, click("1")), 2, 0, 0},
		"a repeated id":       {array(click("1"), click("1")), 1, 1, 0},
		"an empty array":      {array(), 0, 0, 0},
		"some invalid":        {array(click("1"), incomplete, "7", click("3")), 2, 0, 2},
		"all invalid":         {`{"type":"dance"}`, 0, 0, 1},
		"an uncounted action": {strings.Replace(click("1"), "click", "waves", 1), 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, nil).call("POST", "/feedback", c.body)
			wantOutcomes(t, w, c.accepted, c.duplicates, c.rejected)
		})
	}
	lines := click("1") + "\n" + click("2") + "\n"
	w := start(t, nil).call("POST", "/feedback", lines, "Content-Type", "application/x-ndjson")
	wantOutcomes(t, w, 2, 0, 0)
	beacon := start(t, nil).call("POST", "/feedback", click("1"),
		"Content-Type", "text/plain;charset=UTF-8")
	wantOutcomes(t, beacon, 1, 0, 0)
}

// wantOutcomes checks how many events were accepted, duplicates and rejected, and that every
// rejection has a reason.
func wantOutcomes(t *testing.T, w *httptest.ResponseRecorder, accepted, duplicates, rejected int) {
	t.Helper()
	var got struct {
		Accepted   int `json:"accepted"`
		Duplicates int `json:"duplicates"`
		Rejected   []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"rejected"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w.Code != 200 || got.Accepted != accepted || got.Duplicates != duplicates ||
		len(got.Rejected) != rejected {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, r := range got.Rejected {
		if r.Code == "" || r.Message == "" {
			t.Errorf("a rejection without a code or a message: %v", r)
		}
	}
}

// Events of an import are marked: training takes them to have happened at their times.
func TestImportedEvents(t *testing.T) {
	s := start(t, nil)
	wantOutcomes(t, s.call("POST", "/feedback?imported=true", click("1")), 1, 0, 0)
	wantOutcomes(t, s.call("POST", "/feedback", click("2")), 1, 0, 0)
	if got := s.events.taken; len(got) != 2 || !got[0].Imported || got[1].Imported {
		t.Errorf("got %+v", got)
	}
	wantError(t, s.call("POST", "/feedback?imported=yes", click("3")), 400, "invalid_field", "")
}

// Each API key has ids of its own. Imports share theirs, whatever key sends them.
func TestEventIDsBelongToTheKey(t *testing.T) {
	s := start(t, func(o *api.Options) {
		o.Keys = []api.Key{
			key("a", "secret a", "feedback", "items"), key("b", "secret b", "feedback"),
		}
	})
	other := strings.Replace(click("1"), `"u"`, `"v"`, 1)
	send := func(key, path, body string, accepted, duplicates, rejected int) {
		t.Helper()
		w := s.call("POST", path, body, "X-API-Key", key)
		wantOutcomes(t, w, accepted, duplicates, rejected)
		if rejected > 0 && !strings.Contains(w.Body.String(), `"id_conflict"`) {
			t.Error(w.Body)
		}
	}
	send("secret a", "/feedback", click("1"), 1, 0, 0)
	send("secret b", "/feedback", other, 1, 0, 0)
	send("secret a", "/feedback", click("1"), 0, 1, 0)
	send("secret a", "/feedback", other, 0, 0, 1)
	send("secret b", "/feedback", other, 0, 1, 0)
	send("secret a", "/feedback?imported=true", other, 1, 0, 0)
	for i, want := range []string{"key:a", "key:b", "key:a", "key:a", "key:b", ""} {
		if got := s.events.taken[i].Source; got != want {
			t.Errorf("event %d has the source %q, want %q", i, got, want)
		}
	}
}

func TestFeedbackRefusesUnreadableBodies(t *testing.T) {
	s := start(t, nil)
	wantError(t, s.call("POST", "/feedback", "[1,2"), 400, "malformed", "")
	wantError(t, s.call("POST", "/feedback", click("1")+"x"), 400, "malformed", "")
	page := s.call("POST", "/feedback", click("1"), "Content-Type", "text/html")
	wantError(t, page, 415, "unsupported_media_type", "")
}

func TestStorageErrors(t *testing.T) {
	s := start(t, nil)
	s.events.err = fmt.Errorf("%w: in a test", ranker.ErrLogFull)
	wantError(t, s.call("POST", "/feedback", click("1")), 507, "log_full", "")
	s.events.err = fmt.Errorf("%w: the disk failed", ranker.ErrLogUnavailable)
	w := s.call("POST", "/feedback", click("1"))
	wantError(t, w, 503, "log_unavailable", "")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if strings.Contains(w.Body.String(), "the disk failed") {
		t.Error("the client is told what failed:", w.Body)
	}
	if !strings.Contains(s.logs.String(), "the disk failed") {
		t.Error("the server's log does not say why:", s.logs)
	}
	wantError(t, s.call("PUT", "/users/u", `{"fields":{"a":1}}`), 503, "log_unavailable", "")
	// A ranking does not need the log.
	if w := s.call("POST", "/recommend", ranking); w.Code != 200 {
		t.Error(w.Body)
	}
}
