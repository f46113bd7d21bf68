package app

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/config"
	"relish/ranker"
)

// TestDegradedRankingsAreLogged ranks without any time left, more often than the log takes lines. A
// line names the request and the cause, and holds neither the user nor a candidate.
func TestDegradedRankingsAreLogged(t *testing.T) {
	var logs bytes.Buffer
	a, err := New(t.Context(), Options{
		Config: config.Default(), Store: StoreOptions{Data: filepath.Join(t.TempDir(), "d")},
		Encoder: EncoderOptions{NoText: true}, Log: slog.New(slog.NewJSONHandler(&logs, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	const rankings = 100
	for range rankings {
		resp, err := a.pipeline.Rank(ended, &ranker.Request{
			ID: "r1", User: "user-canary", Candidates: []ranker.Candidate{{ID: "item-canary"}},
		})
		if err != nil || len(resp.Degraded) == 0 {
			t.Fatalf("Rank returned %+v, %v; want a degraded answer", resp, err)
		}
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(logs.String()) {
		var got struct {
			Level     string   `json:"level"`
			Message   string   `json:"msg"`
			RequestID string   `json:"request_id"`
			Degraded  []string `json:"degraded"`
			Error     string   `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if got.Message != "ranking degraded" {
			continue
		}
		lines++
		if got.Level != "WARN" || got.RequestID != "r1" || len(got.Degraded) == 0 ||
			!strings.Contains(got.Error, "features: context canceled") ||
			strings.Contains(line, "canary") {
			t.Errorf("logged %s", line)
		}
	}
	if lines == 0 || lines > rankings/2 {
		t.Errorf("%d of %d degraded rankings are logged, want a few", lines, rankings)
	}
}
