package main

import (
	"net/http"
	"net/http/httptest"
	"os"
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

// The runtime's library would report its use to its makers, and keeps an id and what it has not sent yet in the
// home folder. It does so neither with CI set nor in its own tests, so the environment here is an empty one.
func TestRuntimeReportsNothing(t *testing.T) {
	home := t.TempDir()
	cmd := relish(t, "embed", "--data", filepath.Join(t.TempDir(), "d"))
	assets, err := filepath.Abs("../../.cache")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"RELISH_TEST_MAIN=1", "HOME=" + home, "RELISH_ASSETS=" + assets}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	left, err := os.ReadDir(home)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("the runtime left %v in the home folder", left)
	}
}
