package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestDoctorAsksService asks servers that are no ready service: one that is draining, one that is
// something else, none at all, and an address without a scheme.
func TestDoctorAsksService(t *testing.T) {
	answering := func(status int, body string) string {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(other.Close)
		return other.URL
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	const draining = `{"status":"draining","version":"v1","checks":[{"name":"store","ok":true}]}`
	for name, c := range map[string]struct{ url, want string }{
		"draining":       {answering(503, draining), "draining, version v1"},
		"something else": {answering(200, "<html>"), "not as relish does"},
		"nothing there":  {closed.URL, "refused"},
		"no address":     {"127.0.0.1:8080", "BAD"},
	} {
		if out := mustFail(t, 1, "doctor", "--url", c.url); !strings.Contains(out, c.want) {
			t.Errorf("%s: doctor prints %s, want %q", name, out, c.want)
		}
	}
}

// TestRuntimeReportsNothing checks that ONNX Runtime sends no telemetry. The library keeps an id
// and unsent reports in the home folder, unless CI is set. The environment here does not set it.
func TestRuntimeReportsNothing(t *testing.T) {
	home := t.TempDir()
	cmd := relish(t, "embed", "--data", t.TempDir())
	cmd.Env = []string{testMainVariable + "=1", "HOME=" + home, "RELISH_ASSETS=" + assets(t)}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	left, err := os.ReadDir(home)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("ONNX Runtime wrote %v to the home folder", left)
	}
}
