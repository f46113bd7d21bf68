// Package bench measures running services: Run the latency under an open-loop load, Overload the
// goodput above the peak, and Compare two services side by side.
//
// In Run, requests are due at fixed times, whether or not earlier ones have been answered. A
// latency counts from the time at which a request was due. A stall of the service therefore counts
// for all requests that were due meanwhile; a client that waited for each answer would hide it
// (coordinated omission).
package bench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options says what to send. All fields but Key are required.
type Options struct {
	URL        string // the service's base address, http only
	Key        string // API key; "" sends none
	Users      []string
	Items      []string // the candidates; if there are too few, unknown ids are added
	Candidates int      // per request
	Rate       float64  // requests a second; 0 sends each request when the last one is answered
	Duration   time.Duration
	Seed       uint64
	Record     bool // the service records the rankings as impressions
}

// Result is one measurement. Latencies are in microseconds from the time a request was due. A
// request with a wrong status or number of items counts in Errors only.
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
	// Stages is the mean time of each stage as the answers tell it, in ms.
	Stages map[string]float64 `json:"stages_ms"`
}

// maxLatency bounds the histogram and the time to wait for an answer. It is above the longest
// deadline.
const maxLatency = 20 * time.Second

// longDeadline is the longest one that the service accepts. No stage of it runs out of time.
const longDeadline = 10 * time.Second

// maxInFlight bounds the concurrent requests. A further one waits, and its latency includes the
// wait.
const maxInFlight = 64

// Run sends the load and measures it. A warm-up of a fifth of the duration comes first and is not
// counted. It fails if the URL is not valid or ctx ends.
func Run(ctx context.Context, opt Options) (*Result, error) {
	service := Service{URL: opt.URL, Key: opt.Key}
	to, err := service.target("--url", opt.drawRankings(), longDeadline)
	if err != nil {
		return nil, err
	}
	r := &runner{
		opt: opt, to: to, stages: map[string]float64{},
		hist: hdrhistogram.New(1, maxLatency.Microseconds(), 3),
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

// runner sends the load of one Run.
type runner struct {
	opt Options
	to  *target

	mu       sync.Mutex // guards what follows
	hist     *hdrhistogram.Histogram
	errors   int64
	degraded int64
	coverage float64            // summed over the answers
	stages   map[string]float64 // ms, summed over the answers
}

// sendLoad sends requests for a time. Each worker takes the next request that is due. It has its
// own connection and goroutine: passing requests between goroutines would count as latency.
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
			c := &connection{host: r.to.host}
			defer c.disconnect()
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				due := time.Now()
				if r.opt.Rate > 0 {
					offset := time.Duration(float64(i) / r.opt.Rate * float64(time.Second))
					due = start.Add(offset)
				}
				if due.Sub(start) >= d {
					return
				}
				sleepUntil(due)
				r.send(ctx, c, r.to.requests[i%differentRequests], due)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// sleepUntil waits until t, precisely: a late request would count as latency. The kernel's sleep is
// late by at most 0.1 ms, but time.Sleep in an idle process by 1 ms.
func sleepUntil(t time.Time) {
	if d := time.Until(t) - 100*time.Microsecond; d > 0 {
		ts := syscall.NsecToTimespec(d.Nanoseconds())
		_ = syscall.Nanosleep(&ts, nil) // if a signal ends it early, the loop below waits
	}
	for time.Now().Before(t) {
	}
}

// response is what is read of an answer of /recommend.
type response struct {
	Items    []struct{ ID string }
	Degraded []string
	Coverage struct{ Text float64 }
	Timings  map[string]float64 `json:"timings_ms"`
}

// send sends one request and counts its answer.
func (r *runner) send(ctx context.Context, c *connection, request []byte, due time.Time) {
	status, data, err := c.exchange(ctx, request)
	took := time.Since(due)
	var a response
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || status != http.StatusOK || len(a.Items) != r.opt.Candidates {
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

// reset drops what the warm-up has counted.
func (r *runner) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hist.Reset()
	r.errors, r.degraded, r.coverage, r.stages = 0, 0, 0, map[string]float64{}
}

// result returns the measurement.
func (r *runner) result() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.hist.TotalCount()
	for stage := range r.stages {
		r.stages[stage] /= float64(n)
	}
	return &Result{
		Candidates: r.opt.Candidates, Rate: r.opt.Rate,
		Requests: n, Errors: r.errors, Degraded: r.degraded,
		Coverage: r.coverage / max(1, float64(n)),
		P50:      r.hist.ValueAtQuantile(50), P90: r.hist.ValueAtQuantile(90),
		P99: r.hist.ValueAtQuantile(99), Max: r.hist.Max(),
		Stages: r.stages,
	}
}

// Calibrate measures the machine, so that figures of different machines can be compared. It returns
// the fastest of five runs of a fixed computation on one core: 10,000 SHA-256 sums of 64 bytes and
// a million multiply-adds.
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
