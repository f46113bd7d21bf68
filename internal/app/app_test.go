package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/internal/config"
	"relish/internal/demo"
	"relish/ranker"
)

// fillFolder fills a data folder with a simulated world, without text.
func fillFolder(t testing.TB, data string, world demo.Options) {
	t.Helper()
	e, err := OpenEngine(t.Context(), EngineOptions{
		Store: StoreOptions{Data: data}, Encoder: EncoderOptions{NoText: true},
		Config: config.Default(),
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	loader := &Loader{Sink: e.Store, Rejected: func(n int, reason *ranker.EventError) error {
		return fmt.Errorf("event %d: %w", n, reason)
	}}
	n := 0
	for ev := range demo.New(world).Events() {
		n++
		if err := loader.Add(t.Context(), n, ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := loader.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestCloseEndsEveryGoroutine runs a service with all its background jobs. After Run and Close no
// goroutine of it is left, and the data folder can be opened again.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	experiments := filepath.Join(dir, "experiments.yaml")
	if err := os.WriteFile(experiments, []byte("layers: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := Options{
		Config: config.Default(), Store: StoreOptions{Data: filepath.Join(dir, "d")},
		Encoder: EncoderOptions{NoText: true}, Experiments: experiments,
	}
	for range 2 {
		a, err := New(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.jobs) != 5 {
			t.Errorf("%d background jobs, want 5", len(a.jobs))
		}
		serveOnce(t, a)
		if err := a.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	// A goroutine needs some time to end after it has signalled its end. On a busy machine it needs
	// much time.
	leak := goleak.Find(before)
	for end := time.Now().Add(time.Minute); leak != nil && time.Now().Before(end); {
		leak = goleak.Find(before)
	}
	if leak != nil {
		t.Error(leak)
	}
}

// serveOnce runs the service until it has answered one request.
func serveOnce(t *testing.T, a *App) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, listener) }()
	resp, err := http.Get("http://" + listener.Addr().String() + "/health/ready")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/health/ready answers %d: %v: %s", resp.StatusCode, err, body)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run did not return within a minute")
	}
}

// TestNewReturnsErrors opens data folders and configurations that cannot be used. New returns an
// error, never panics, and releases the data folder.
func TestNewReturnsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, data string, opt *Options)
		want    string
	}{
		"the event log is a file": {func(t *testing.T, data string, _ *Options) {
			if err := os.WriteFile(filepath.Join(data, "log"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "log"},
		"the data folder is a file": {func(t *testing.T, data string, opt *Options) {
			opt.Store.Data = filepath.Join(data, "file")
			if err := os.WriteFile(opt.Store.Data, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "file"},
		"an invalid Redis URL": {func(_ *testing.T, _ string, opt *Options) {
			opt.Store.Redis = "http://127.0.0.1"
		}, "--redis"},
		"no configuration": {func(_ *testing.T, _ string, opt *Options) {
			opt.Config = nil
		}, "Options.Config"},
		"no data folder": {func(_ *testing.T, _ string, opt *Options) {
			opt.Store.Data = ""
		}, "Options.Store.Data"},
		"no experiments file": {func(_ *testing.T, data string, opt *Options) {
			opt.Experiments = filepath.Join(data, "absent.yaml")
		}, "absent.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			opt := Options{
				Config: config.Default(), Store: StoreOptions{Data: data},
				Encoder: EncoderOptions{NoText: true},
			}
			c.prepare(t, data, &opt)
			a, err := New(t.Context(), opt)
			if err == nil || a != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New returned %v, %v; want an error about %q", a, err, c.want)
			}
		})
	}
}
