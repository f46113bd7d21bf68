package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
)

// randomRanking returns a request with a context within the bounds: up to 32 keys of up to 64
// bytes, and 4 KiB together.
func randomRanking(rng *rand.Rand) string {
	context := map[string]string{}
	left := 4000
	for range rng.IntN(33) {
		key := fmt.Sprintf("k%d", rng.IntN(1000)) + strings.Repeat("x", rng.IntN(60))
		value := strings.Repeat("v", rng.IntN(300))
		if left -= len(key) + len(value); left < 0 {
			break
		}
		context[key] = value
	}
	body, _ := json.Marshal(map[string]any{ // of maps and strings: cannot fail
		"user_id": fmt.Sprint("user-", rng.IntN(5)), "candidates": []string{"a", "b", "c"},
		"context": context, "deadline_ms": 10_000,
	})
	return string(body)
}

// rankTwice sends the request twice with one X-Request-Id, as a proxy that retries does. It
// returns the ids of the answers.
func (s *service) rankTwice(body, trace string) (ids []string, err error) {
	for range 2 {
		req, err := http.NewRequest(http.MethodPost, s.url+"/recommend", strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Request-Id", trace)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		var answer struct {
			RequestID string `json:"request_id"`
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		if closed := resp.Body.Close(); err == nil {
			err = closed
		}
		if err != nil || resp.StatusCode != http.StatusOK {
			return ids, errors.Join(err, fmt.Errorf("status %d", resp.StatusCode))
		}
		ids = append(ids, answer.RequestID)
	}
	return ids, nil
}

// Each answered ranking is in the log, under its own id, or in the counter of lost impressions. The
// second service has space for some of them.
func TestAnsweredRankingsAreLoggedOrCounted(t *testing.T) {
	for name, flags := range map[string][]string{
		"enough space": nil,
		"a full log":   {"--max-log-bytes", "300000"},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "d")
			s := serve(t, append([]string{"--data", data, "--no-text"}, flags...)...)
			var mu sync.Mutex
			answered := map[string]bool{}
			var wg sync.WaitGroup
			for worker := range 8 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(worker), 1))
					for i := range 25 {
						ids, err := s.rankTwice(randomRanking(rng), fmt.Sprint("trace-", i%3))
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						for _, id := range ids {
							answered[id] = true
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			var dropped int
			eventually(t, "an empty queue of the log", func() bool {
				_, metrics := s.get(t, "/metrics")
				dropped = metric(t, metrics, "relish_impressions_dropped_total")
				return metric(t, metrics, "relish_log_queue_bytes") == 0
			})
			s.stop(t)
			logged := 0
			for rec, err := range eventlog.Read(ingest.LogDir(data), 1) {
				if err != nil {
					t.Fatal(err)
				}
				if rec.Event.Kind != ranker.EventImpression {
					continue
				}
				logged++
				if !answered[rec.Event.ID] {
					t.Errorf("impression %q was not answered, or is there twice", rec.Event.ID)
				}
				delete(answered, rec.Event.ID)
			}
			if logged == 0 || len(answered) != dropped || dropped == 0 && len(flags) > 0 {
				t.Errorf("%d impressions are in the log, %d are counted as dropped, %d are in "+
					"neither",
					logged, dropped, len(answered)-dropped)
			}
		})
	}
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, metrics, name string) int {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
	if match == nil {
		t.Fatalf("no metric %s", name)
	}
	value, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(value)
}
