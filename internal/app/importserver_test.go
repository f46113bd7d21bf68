package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/internal/app"
	"relish/ranker"
)

// scripted is a service that answers as the script says: each entry answers one request, and the
// last one all others.
type scripted struct {
	script   []func(w http.ResponseWriter, n int)
	requests []*http.Request
	events   []int // by request
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var events []json.RawMessage
	if err := json.Unmarshal(body, &events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	i := min(len(s.requests), len(s.script)-1)
	s.requests, s.events = append(s.requests, r), append(s.events, len(events))
	s.script[i](w, len(events))
}

func takes(w http.ResponseWriter, n int) { fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, n) }

func refuses(status int, retryAfter string) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, `{"error":{"code":"c","message":"the reason"}}`)
	}
}

func hangsUp(w http.ResponseWriter, _ int) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}

// sendAll sends events to a scripted service, and returns how long it would have waited.
func sendAll(
	t *testing.T, s *scripted, events []ranker.Event,
) (outcomes []ranker.EventOutcome, waits []time.Duration, err error) {
	t.Helper()
	service := httptest.NewServer(s)
	t.Cleanup(func() {
		service.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	server := app.Server{
		URL: service.URL + "/", Key: "secret",
		Wait: func(_ context.Context, d time.Duration) error {
			waits = append(waits, d)
			return nil
		},
	}
	outcomes, err = server.Append(context.Background(), events)
	return outcomes, waits, err
}

func clicks(n int) []ranker.Event {
	events := make([]ranker.Event, n)
	for i := range events {
		events[i] = ranker.Event{
			Kind: ranker.EventInteraction, ID: fmt.Sprint("e", i), Time: 1777629600000,
			UserID: "u", ItemID: "i", Action: "click",
		}
	}
	return events
}

func TestServerRepeatsWhatTheServiceCannotTake(t *testing.T) {
	s := &scripted{script: []func(http.ResponseWriter, int){
		refuses(503, ""), refuses(429, "7"), hangsUp, refuses(502, "soon"), takes,
	}}
	outcomes, waits, err := sendAll(t, s, clicks(3))
	want := []time.Duration{
		500 * time.Millisecond, 7 * time.Second, 2 * time.Second, 4 * time.Second,
	}
	if err != nil || len(outcomes) != 3 || !slices.Equal(waits, want) {
		t.Errorf("%v, waits %v, %v", outcomes, waits, err)
	}
	r := s.requests[0]
	if r.URL.String() != "/feedback?imported=true" ||
		r.Header.Get("Authorization") != "Bearer secret" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	// It gives up in the end.
	s = &scripted{script: []func(http.ResponseWriter, int){refuses(503, "")}}
	_, waits, err = sendAll(t, s, clicks(1))
	if err == nil || !strings.Contains(err.Error(), "the reason") || len(waits) != 13 {
		t.Errorf("%d waits, %v", len(waits), err)
	}
}

func TestServerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, int)
		want   string
	}{
		"the log is full": {refuses(507, ""), "the service answers: the reason"},
		"no key":          {refuses(401, ""), "--key-file"},
		"not relish": {func(w http.ResponseWriter, _ int) { fmt.Fprint(w, "<html>") },
			"not as relish does"},
		"too few outcomes": {func(w http.ResponseWriter, _ int) { fmt.Fprint(w, `{"accepted":1}`) },
			"answers for 1 event; 2 were sent"},
		"a wrong index": {func(w http.ResponseWriter, _ int) {
			fmt.Fprint(w, `{"accepted":1,"rejected":[{"index":2}]}`)
		}, "rejects event 2 of 2"},
	} {
		s := &scripted{script: []func(http.ResponseWriter, int){c.answer}}
		_, waits, err := sendAll(t, s, clicks(2))
		if err == nil || !strings.Contains(err.Error(), c.want) || len(waits) > 0 {
			t.Errorf("%s: %v after %d waits", name, err, len(waits))
		}
	}
}

// Outcomes are aligned with the events, and bodies are bounded.
func TestServerOutcomes(t *testing.T) {
	s := &scripted{script: []func(http.ResponseWriter, int){
		func(w http.ResponseWriter, n int) {
			fmt.Fprintf(w, `{"accepted":%d,"duplicates":1,"rejected":[{"index":0,"code":"c",`+
				`"message":"m","pointer":"/p"}]}`, n-2)
		}, takes,
	}}
	outcomes, _, err := sendAll(t, s, clicks(2))
	if err != nil || outcomes[0].Err == nil || outcomes[0].Err.Pointer != "/p" ||
		!outcomes[1].Duplicate {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	events := clicks(5)
	long := strings.Repeat("x", 1<<20)
	for i := range events {
		events[i] = ranker.Event{
			Kind: ranker.EventItem, ID: fmt.Sprint(i), ItemID: "i", Text: &long,
		}
	}
	s = &scripted{script: []func(http.ResponseWriter, int){takes}}
	if _, _, err := sendAll(t, s, events); err != nil ||
		!slices.Equal(s.events, []int{1, 1, 1, 1, 1}) {
		t.Errorf("bodies of %v events, %v", s.events, err)
	}
}

func TestServerAddressAndKey(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://127.0.0.1:8080": true, "https://relish.example/api": true,
		"127.0.0.1:8080": false, "localhost": false, "file:///etc": false, "http://": false,
	} {
		server := app.Server{URL: address}
		if err := server.Check(); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	path := filepath.Join(t.TempDir(), "key")
	for content, ok := range map[string]bool{"secret\n": true, "\n": false, "two words": false} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := app.ReadKeyFile(path); (err == nil) != ok || ok && key != "secret" {
			t.Errorf("%q: %q, %v", content, key, err)
		}
	}
}

// An address that no service has answered at is not tried again.
func TestUnreachableServer(t *testing.T) {
	service := httptest.NewServer(http.NotFoundHandler())
	service.Close()
	server := app.Server{URL: service.URL, Wait: func(context.Context, time.Duration) error {
		t.Error("the import waits")
		return nil
	}}
	_, err := server.Append(context.Background(), clicks(1))
	if err == nil || !strings.Contains(err.Error(), "correct --server") {
		t.Errorf("the error is %v", err)
	}
}
