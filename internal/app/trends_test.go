package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relish/embeddings/classifier"
	"relish/features/trends"
	"relish/internal/config"
	"relish/internal/redistest"
	"relish/ranker"
)

// The trends know which events bring labels by the field that has the probability.
func TestTrendsKnowLabels(t *testing.T) {
	if got := classifier.ProbabilityField("x"); got != "x"+trends.LabelSuffix {
		t.Errorf("a classifier writes %q, the trends expect x%s", got, trends.LabelSuffix)
	}
}

// A service counts the fields of the configuration, with either store, and goes on after a restart.
func TestTrendsOfAService(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { trendsOfAService(t, "") })
	t.Run("Redis", func(t *testing.T) { trendsOfAService(t, redistest.Start(t).URL()) })
}

func trendsOfAService(t *testing.T, redis string) {
	cfg := config.Default()
	cfg.Trends.Fields = []string{"topic"}
	opt := Options{
		Config: cfg, Store: StoreOptions{Data: filepath.Join(t.TempDir(), "d"), Redis: redis},
		Encoder: EncoderOptions{NoText: true},
	}
	for round := range 2 {
		a, err := New(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		id := string(rune('a' + round))
		stop := runApp(t, a, func(url string) {
			e := ranker.Event{
				Kind: ranker.EventItem, ID: id, ItemID: id,
				Fields: map[string]ranker.FieldValue{"topic": ranker.StringValue("tax")},
			}
			if _, err := a.engine.Store.Append(t.Context(), []ranker.Event{e}); err != nil {
				t.Fatal(err)
			}
			want := `"values":[{"value":"tax","count":` + string(rune('1'+round))
			for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				body := getBody(t, url+"/trends?field=topic")
				if strings.Contains(body, want) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("no %s in %s", want, body)
				}
			}
			if body := getBody(t, url+"/metrics"); !strings.Contains(body, "relish_trends_items") {
				t.Error("no metric relish_trends_items")
			}
		})
		stop()
	}
}

// runApp runs a service, calls use with its address, and returns what ends and closes the service.
func runApp(t *testing.T, a *App, use func(url string)) (stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, listener) }()
	use("http://" + listener.Addr().String())
	return func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := a.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}
}

func getBody(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
