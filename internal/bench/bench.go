// Package bench measures a running service under an open-loop load: requests are sent at fixed
// times, whether or not earlier ones have been answered, and a latency counts from the time a request
// was due, so that a stall shows in full (no coordinated omission).
package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
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
	Rate       float64 // requests a second; 0 sends one after the other, each when the last is answered
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
	// Stages is the mean time of each stage by the service's own clock, in ms.
	Stages map[string]float64 `json:"stages_ms"`
}

// maxLatency bounds the histogram: a request takes at most the longest deadline.
const maxLatency = 20 * time.Second

// maxInFlight bounds the requests under way; one more than that waits, and its wait is measured.
const maxInFlight = 64

// Run sends the load and measures it, after a warm-up of a fifth of the duration that is not counted.
func Run(ctx context.Context, opt Options) (*Result, error) {
	base, err := url.Parse(opt.URL)
	if err != nil || base.Scheme != "http" || base.Host == "" {
		return nil, fmt.Errorf("the load goes to an address like http://127.0.0.1:8080, not %q", opt.URL)
	}
	r := &runner{opt: opt, host: base.Host, hist: hdrhistogram.New(1, maxLatency.Microseconds(), 3), stages: map[string]float64{}}
	if r.requests, err = r.buildRequests(base); err != nil {
		return nil, err
	}
	if err := r.sendLoad(ctx, opt.Duration/5); err != nil {
		return nil, err
	}
	r.reset()
	if err := r.sendLoad(ctx, opt.Duration); err != nil {
		return nil, err
	}
	return r.result(), nil
}

type runner struct {
	opt      Options
	host     string
	requests [][]byte

	mu       sync.Mutex // guards what follows
	hist     *hdrhistogram.Histogram
	errors   int64
	degraded int64
	coverage float64
	stages   map[string]float64 // sums, ms
}

// buildRequests makes the requests' bytes beforehand, so that making them is not measured.
func (r *runner) buildRequests(base *url.URL) ([][]byte, error) {
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
		req, err := http.NewRequest(http.MethodPost, base.JoinPath("recommend").String(), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		if r.opt.Key != "" {
			req.Header.Set("Authorization", "Bearer "+r.opt.Key)
		}
		var raw bytes.Buffer
		if err := req.Write(&raw); err != nil {
			return nil, err
		}
		out[b] = raw.Bytes()
	}
	return out, nil
}

// sendLoad runs the workers for a while. Each takes the next request that is due, on a connection and a
// goroutine of its own: handing requests over between goroutines would be measured as latency.
func (r *runner) sendLoad(ctx context.Context, d time.Duration) error {
	workers := maxInFlight
	if r.opt.Rate == 0 {
		workers = 1
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	start := time.Now()
	for range workers {
		wg.Go(func() {
			c := &connection{host: r.host}
			defer c.disconnect()
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				due := time.Now()
				if r.opt.Rate > 0 {
					due = start.Add(time.Duration(float64(i) / r.opt.Rate * float64(time.Second)))
				}
				if due.Sub(start) >= d {
					return
				}
				sleepUntil(due)
				r.send(ctx, c, r.requests[i%int64(len(r.requests))], due)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// sleepUntil waits precisely, for lateness would count as latency. The kernel's sleep is late by a
// tenth of a millisecond at most, time.Sleep in an idle process by a whole one.
func sleepUntil(t time.Time) {
	if d := time.Until(t) - 100*time.Microsecond; d > 0 {
		ts := syscall.NsecToTimespec(d.Nanoseconds())
		_ = syscall.Nanosleep(&ts, nil) // a signal may cut it short: the loop below waits for the rest
	}
	for time.Now().Before(t) {
	}
}

type response struct {
	Items    []struct{ ID string }
	Degraded []string
	Coverage struct{ Text float64 }
	Timings  map[string]float64 `json:"timings_ms"`
}

func (r *runner) send(ctx context.Context, c *connection, request []byte, due time.Time) {
	data, err := c.exchange(ctx, request)
	took := time.Since(due)
	var a response
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
	for stage, ms := range a.Timings {
		r.stages[stage] += ms
	}
	if len(a.Degraded) > 0 {
		r.degraded++
	}
}

// connection is one kept-alive HTTP/1.1 connection, dialled when needed. net/http's client hands every
// exchange through two goroutines, which on an idle machine takes longer than the service does.
type connection struct {
	host   string
	conn   net.Conn
	reader *bufio.Reader
}

func (c *connection) disconnect() {
	if c.conn != nil {
		_ = c.conn.Close() // only reads and writes matter, and they have been checked
		c.conn = nil
	}
}

// exchange writes one request and reads its answer's body.
func (c *connection) exchange(ctx context.Context, request []byte) (data []byte, err error) {
	defer func() {
		if err != nil {
			c.disconnect()
		}
	}()
	if c.conn == nil {
		d := net.Dialer{Timeout: maxLatency}
		if c.conn, err = d.DialContext(ctx, "tcp", c.host); err != nil {
			return nil, err
		}
		c.reader = bufio.NewReaderSize(c.conn, 64<<10)
	}
	stop := context.AfterFunc(ctx, func(conn net.Conn) func() { return func() { _ = conn.SetDeadline(time.Unix(1, 0)) } }(c.conn))
	defer stop()
	if err := c.conn.SetDeadline(time.Now().Add(maxLatency)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return data, err
}

func (r *runner) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hist.Reset()
	r.errors, r.degraded, r.coverage, r.stages = 0, 0, 0, map[string]float64{}
}

func (r *runner) result() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.hist.TotalCount()
	for stage := range r.stages {
		r.stages[stage] /= float64(n)
	}
	return &Result{Candidates: r.opt.Candidates, Rate: r.opt.Rate, Requests: n, Errors: r.errors, Degraded: r.degraded,
		Coverage: r.coverage / max(1, float64(n)), P50: r.hist.ValueAtQuantile(50), P90: r.hist.ValueAtQuantile(90),
		P99: r.hist.ValueAtQuantile(99), Max: r.hist.Max(), Stages: r.stages}
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
