// Package bench measures a running service under an open-loop load: requests are sent at fixed
// times, whether or not earlier ones have been answered, and a latency counts from the time a request
// was due, so that a stall shows in full (no coordinated omission).
package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options says what to send. All fields are required.
type Options struct {
	URL        string // the service's base address
	Key        string // API key, "" if open
	Users      []string
	Items      []string // candidates are drawn from these, with replacement only if there are too few
	Candidates int
	Rate       float64 // requests a second
	Duration   time.Duration
	Seed       uint64
}

// Result is one measurement. Latencies are in microseconds from the due time.
type Result struct {
	Candidates int     `json:"candidates"`
	Rate       float64 `json:"rate"`
	Requests   int64   `json:"requests"`
	Errors     int64   `json:"errors"`
	Degraded   int64   `json:"degraded"`
	Coverage   float64 `json:"coverage_text"`
	P50        int64   `json:"p50_us"`
	P90        int64   `json:"p90_us"`
	P99        int64   `json:"p99_us"`
	Max        int64   `json:"max_us"`
}

// maxLatency bounds the histogram: a request takes at most the longest deadline.
const maxLatency = 20 * time.Second

// inFlight bounds the requests under way; one more than that waits, and its wait is measured.
const inFlight = 64

// Run sends the load and measures it, after a warm-up of a fifth of the duration that is not counted.
func Run(ctx context.Context, opt Options) (*Result, error) {
	r := &runner{opt: opt, hist: hdrhistogram.New(1, maxLatency.Microseconds(), 3),
		client: &http.Client{Timeout: maxLatency, Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}}
	defer r.client.CloseIdleConnections()
	bodies, err := r.bodies()
	if err != nil {
		return nil, err
	}
	if err := r.phase(ctx, bodies, opt.Duration/5); err != nil {
		return nil, err
	}
	r.reset()
	if err := r.phase(ctx, bodies, opt.Duration); err != nil {
		return nil, err
	}
	return r.result(), nil
}

type runner struct {
	opt    Options
	client *http.Client

	mu       sync.Mutex // guards what follows
	hist     *hdrhistogram.Histogram
	errors   int64
	degraded int64
	coverage float64
}

// bodies prepares the requests beforehand, so that making them is not measured.
func (r *runner) bodies() ([][]byte, error) {
	rng := rand.New(rand.NewPCG(r.opt.Seed, 3))
	out := make([][]byte, 64)
	for b := range out {
		ids := make([]string, 0, r.opt.Candidates)
		if r.opt.Candidates <= len(r.opt.Items) {
			start := rng.IntN(len(r.opt.Items))
			for i := range r.opt.Candidates {
				ids = append(ids, r.opt.Items[(start+i)%len(r.opt.Items)])
			}
		} else {
			ids = append(ids, r.opt.Items...)
			for i := len(ids); i < r.opt.Candidates; i++ {
				ids = append(ids, fmt.Sprintf("unknown-%d", i))
			}
		}
		body, err := json.Marshal(map[string]any{
			"user_id": r.opt.Users[rng.IntN(len(r.opt.Users))], "candidates": ids, "record": false, "deadline_ms": 10_000,
		})
		if err != nil {
			return nil, err
		}
		out[b] = body
	}
	return out, nil
}

func (r *runner) phase(ctx context.Context, bodies [][]byte, d time.Duration) error {
	sem := make(chan struct{}, inFlight)
	var wg sync.WaitGroup
	defer wg.Wait()
	interval := time.Duration(float64(time.Second) / r.opt.Rate)
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(i) * interval)
		if due.Sub(start) >= d {
			return nil
		}
		sleepUntil(due)
		select {
		case sem <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		wg.Go(func() {
			defer func() { <-sem }()
			r.send(ctx, bodies[i%len(bodies)], due)
		})
	}
}

// sleepUntil waits precisely: the timer's slack would count as latency.
func sleepUntil(t time.Time) {
	if d := time.Until(t) - 200*time.Microsecond; d > 0 {
		time.Sleep(d)
	}
	for time.Now().Before(t) {
	}
}

type answer struct {
	Items    []struct{ ID string }
	Degraded []string
	Coverage struct{ Text float64 }
}

func (r *runner) send(ctx context.Context, body []byte, due time.Time) {
	data, err := r.post(ctx, body)
	took := time.Since(due)
	var a answer
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || len(a.Items) != r.opt.Candidates {
		r.errors++
		return
	}
	_ = r.hist.RecordValue(max(1, took.Microseconds()))
	r.coverage += a.Coverage.Text
	if len(a.Degraded) > 0 {
		r.degraded++
	}
}

func (r *runner) post(ctx context.Context, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.opt.URL+"/recommend", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.opt.Key != "" {
		req.Header.Set("Authorization", "Bearer "+r.opt.Key)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return data, err
}

func (r *runner) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hist.Reset()
	r.errors, r.degraded, r.coverage = 0, 0, 0
}

func (r *runner) result() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.hist.TotalCount()
	return &Result{Candidates: r.opt.Candidates, Rate: r.opt.Rate, Requests: n, Errors: r.errors, Degraded: r.degraded,
		Coverage: r.coverage / max(1, float64(n)), P50: r.hist.ValueAtQuantile(50), P90: r.hist.ValueAtQuantile(90),
		P99: r.hist.ValueAtQuantile(99), Max: r.hist.Max()}
}

// Calibrate times a fixed kernel (10,000 SHA-256 of 64 bytes and a million multiply-adds, on one
// core) and returns the fastest of five: the machine's unit, to be quoted beside any figure.
func Calibrate() time.Duration {
	best := time.Duration(1<<63 - 1)
	var block [64]byte
	for range 5 {
		start := time.Now()
		for range 10_000 {
			sum := sha256.Sum256(block[:])
			copy(block[:], sum[:])
		}
		x := 1.0
		for range 1_000_000 {
			x = x*0.999999 + 1e-6
		}
		block[0] = byte(x)
		best = min(best, time.Since(start))
	}
	return best
}
