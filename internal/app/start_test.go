package app

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/api"
	"relish/internal/config"
	"relish/internal/demo"
)

// replayed is a data folder whose next start reads the whole log.
func replayed(t *testing.T) Options {
	t.Helper()
	data := filepath.Join(t.TempDir(), "d")
	fillFolder(t, data, demo.Options{Seed: 1, Users: 20, Lists: 100})
	if err := os.Remove(filepath.Join(data, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	return Options{
		Config: config.Default(), Store: StoreOptions{Data: data},
		Encoder: EncoderOptions{NoText: true},
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// While the service reads its log it answers: it lives, it is not ready, and how far it is. Then it
// serves on the same address.
func TestAnswersWhileStarting(t *testing.T) {
	opt, listener := replayed(t), listen(t)
	url := "http://" + listener.Addr().String()
	asked := false
	opt.onReplay = func(done, total uint64) error {
		if !asked {
			asked = true
			checkStarting(t, url)
		}
		return nil
	}
	state := &startState{}
	state.set("reading")
	a, err := openWhileStarting(t.Context(), opt, listener, state)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(t.Context())
	if !asked {
		t.Fatal("the start read no log")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, listener) }()
	if status, body, _ := ask(t, http.MethodGet, url+"/health/ready"); status != http.StatusOK {
		t.Errorf("/health/ready answers %d: %s", status, body)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func ask(t *testing.T, method, url string) (status int, body string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data), resp.Header
}

func checkStarting(t *testing.T, url string) {
	if status, body, _ := ask(t, http.MethodGet, url+"/health/live"); status != http.StatusOK {
		t.Errorf("/health/live answers %d: %s", status, body)
	}
	status, body, _ := ask(t, http.MethodGet, url+"/health/ready")
	var ready struct {
		Status string
		Checks []api.ReadinessCheck
	}
	if err := json.Unmarshal([]byte(body), &ready); err != nil || status != 503 ||
		ready.Status != "starting" || len(ready.Checks) != 1 || ready.Checks[0].OK ||
		ready.Checks[0].Detail != "reading" {
		t.Errorf("/health/ready answers %d: %s, %v", status, body, err)
	}
	status, body, header := ask(t, http.MethodPost, url+"/recommend")
	if status != 503 || !strings.Contains(body, `"starting"`) || header.Get("Retry-After") == "" {
		t.Errorf("/recommend answers %d: %s", status, body)
	}
}

// A service that is told to stop while it starts does so, without an error.
func TestStopWhileStarting(t *testing.T) {
	opt := replayed(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	ready := func() { t.Error("the service is ready") }
	if err := Serve(ctx, opt, listen(t), ready); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// What fails while the service opens is the error of Serve.
func TestServeReturnsErrorsOfTheStart(t *testing.T) {
	opt := replayed(t)
	opt.Store.Data = filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(opt.Store.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(opt.Store.Data, "log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Serve(t.Context(), opt, listen(t), func() { t.Error("the service is ready") })
	if err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("with a file in the place of the log: %v", err)
	}
}
