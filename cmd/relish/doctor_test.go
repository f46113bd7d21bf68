package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// Doctor asks a service: a real one, one that is not ready, one that is something else, and none at all.
func TestDoctorAsksAService(t *testing.T) {
	s := serve(t, "--data", filepath.Join(t.TempDir(), "d"), "--no-text")
	if out := output(t, "doctor", "--url", s.url); !strings.Contains(out, "ready, version") || !strings.Contains(out, "store") {
		t.Errorf("a ready service: %q", out)
	}
	answering := func(status int, body string) string {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(other.Close)
		return other.URL
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct{ url, want string }{
		"draining":       {answering(503, `{"status":"draining","version":"v1","checks":[{"name":"store","ok":true}]}`), "draining, version v1"},
		"something else": {answering(200, "<html>"), "not as relish does"},
		"nothing there":  {gone.URL, "refused"},
		"no address":     {"127.0.0.1:8080", "BAD"},
	} {
		out, err := relish(t, "doctor", "--url", c.url).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
