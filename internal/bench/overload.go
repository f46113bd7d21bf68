package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"relish/ranker"
)

// OverloadOptions says how to overload a service. Options.Rate is not used.
type OverloadOptions struct {
	Options
	// Factors are the loads to measure, as multiples of the peak.
	Factors []float64
}

// OverloadResult is the measurement of one load. An answer is good if it is complete, not degraded,
// and there within the default deadline of a ranking.
type OverloadResult struct {
	// Factor is the load as a multiple of the peak. It is 0 for the measurement of the peak.
	Factor float64 `json:"factor"`
	// Sent, Good, Refused and Late are requests and answers a second. Late ones are complete, but
	// degraded or not in time.
	Sent    float64 `json:"sent"`
	Good    float64 `json:"good"`
	Refused float64 `json:"refused"`
	Late    float64 `json:"late"`
	// Failed is how many requests got no answer, or an unexpected one.
	Failed int64 `json:"failed"`
	// Goodput is Good as a share of the peak.
	Goodput float64 `json:"goodput"`
	// GoodPerCPU is good answers for each second of the service's processor time, as a share of the
	// peak's. Unlike Goodput, it does not depend on the processor time that the load generator and
	// other programs take. It is 0 if the service does not tell its processor time.
	GoodPerCPU float64 `json:"good_per_cpu"`
	// P50 and P99 are latencies of answered rankings, RefusedP99 that of refusals, in microseconds.
	P50        int64 `json:"p50_us"`
	P99        int64 `json:"p99_us"`
	RefusedP99 int64 `json:"refused_p99_us"`
	// Recovery is the time, in ms, from the end of a load above the peak to the first second in
	// which half of the peak is answered without a refusal, with a p99 of at most twice that before
	// the load. It is null for other loads, and if there is no such second among the next five.
	Recovery *int64 `json:"recovery_ms"`
}

// Numbers of connections. If all are busy when a request is due, it is sent at most maxLate later,
// and else left out: Sent shows it. A latency counts from the time at which a request was due.
const (
	peakConnections     = 4 // for each processor
	overloadConnections = 512
	maxLate             = 10 * time.Millisecond
)

// Overload measures the peak: the good answers a second of clients that wait for each answer. Then
// it sends multiples of that rate without waiting.
func Overload(ctx context.Context, opt OverloadOptions) ([]OverloadResult, error) {
	service := Service{URL: opt.URL, Key: opt.Key}
	to, err := service.target("--url", opt.drawRankings(), 0)
	if err != nil {
		return nil, err
	}
	peak := newOverloadRun(to, 0)
	if err := peak.send(ctx, peakConnections*runtime.NumCPU(), opt.Duration/5); err != nil {
		return nil, err
	}
	peak = newOverloadRun(to, 0)
	if err := peak.send(ctx, peakConnections*runtime.NumCPU(), opt.Duration); err != nil {
		return nil, err
	}
	results := []OverloadResult{peak.result(0, 0, opt.Duration)}
	peakPerCPU := results[0].GoodPerCPU
	before, err := calmLoad(ctx, to, results[0].Good, opt.Duration)
	if err != nil {
		return nil, err
	}
	for _, factor := range opt.Factors {
		rate := factor * results[0].Good
		if rate == 0 {
			return nil, fmt.Errorf("the service gives no good answer even to clients who wait: "+
				"%d of %d requests failed", peak.failed, peak.sent)
		}
		r := newOverloadRun(to, rate)
		if err := r.send(ctx, overloadConnections, opt.Duration); err != nil {
			return nil, err
		}
		result := r.result(factor, results[0].Good, opt.Duration)
		if factor > 1 && len(before) > 0 {
			result.Recovery, err = recovery(ctx, to, results[0].Good, before, r.end)
			if err != nil {
				return nil, err
			}
		}
		results = append(results, result)
	}
	for i := range results {
		if peakPerCPU > 0 {
			results[i].GoodPerCPU /= peakPerCPU
		}
	}
	return results, nil
}

// overloadRun is one load.
type overloadRun struct {
	to   *target
	rate float64 // 0: each connection sends a request when the last one is answered

	mu                                sync.Mutex
	sent, good, refused, late, failed int64
	answered, refusals                *hdrhistogram.Histogram
	cpu                               float64   // seconds of the service
	end                               time.Time // from when on nothing was sent
	keepSamples                       bool
	samples                           []sample // with keepSamples, in no order
}

func newOverloadRun(to *target, rate float64) *overloadRun {
	return &overloadRun{
		to: to, rate: rate,
		answered: hdrhistogram.New(1, maxLatency.Microseconds(), 3),
		refusals: hdrhistogram.New(1, maxLatency.Microseconds(), 3),
	}
}

// send sends requests over a number of connections for a time.
func (r *overloadRun) send(ctx context.Context, connections int, d time.Duration) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	before := r.cpuSeconds(ctx)
	start := time.Now()
	r.end = start.Add(d)
	for range connections {
		wg.Go(func() {
			c := &connection{host: r.to.host}
			defer c.disconnect()
			random := rand.New(rand.NewPCG(uint64(next.Add(0)), 5))
			for ctx.Err() == nil {
				due := time.Now()
				if r.rate > 0 {
					i := next.Add(1) - 1
					due = start.Add(time.Duration(float64(i) / r.rate * float64(time.Second)))
					time.Sleep(time.Until(due))
				}
				if due.Sub(start) >= d || time.Since(start) >= d {
					return
				}
				if time.Since(due) > maxLate {
					continue
				}
				request := r.to.requests[random.IntN(len(r.to.requests))]
				took, answered := r.exchange(ctx, c, request, due)
				r.keep(sample{due.Sub(start), took, answered})
			}
		})
	}
	wg.Wait()
	r.cpu = r.cpuSeconds(ctx) - before
	return ctx.Err()
}

// cpuSeconds returns the processor time of the service, 0 if it does not tell.
func (r *overloadRun) cpuSeconds(ctx context.Context) float64 {
	c := &connection{host: r.to.host}
	defer c.disconnect()
	request := "GET /metrics HTTP/1.1\r\nHost: " + r.to.host + "\r\n\r\n"
	_, data, err := c.exchange(ctx, []byte(request))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "process_cpu_seconds_total "); ok {
			seconds, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return seconds
		}
	}
	return 0
}

// Marks in an answer. Decoding each answer would take the processor from the service.
var (
	complete = []byte(`"degraded":[]`)
	refusal  = []byte(`"code":"overloaded"`)
)

// exchange sends one request and counts its answer. It reports how long after due the answer came,
// and whether it is a ranking.
func (r *overloadRun) exchange(
	ctx context.Context, c *connection, request []byte, due time.Time,
) (took time.Duration, answered bool) {
	status, data, err := c.exchange(ctx, request)
	took = time.Since(due)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent++
	switch {
	case err == nil && status == 503 && bytes.Contains(data, refusal):
		r.refused++
		_ = r.refusals.RecordValue(max(1, took.Microseconds()))
	case err != nil || status != 200:
		r.failed++
	default:
		_ = r.answered.RecordValue(max(1, took.Microseconds()))
		if took <= ranker.DefaultDeadline && bytes.Contains(data, complete) {
			r.good++
		} else {
			r.late++
		}
		return took, true
	}
	return took, false
}

// keep keeps a sample if samples are kept.
func (r *overloadRun) keep(s sample) {
	if !r.keepSamples {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

func (r *overloadRun) result(factor, peak float64, d time.Duration) OverloadResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	perSecond := func(n int64) float64 { return float64(n) / d.Seconds() }
	res := OverloadResult{
		Factor: factor, Sent: perSecond(r.sent), Good: perSecond(r.good),
		Refused: perSecond(r.refused), Late: perSecond(r.late), Failed: r.failed,
		P50: r.answered.ValueAtQuantile(50), P99: r.answered.ValueAtQuantile(99),
		RefusedP99: r.refusals.ValueAtQuantile(99), Goodput: 1,
	}
	if r.cpu > 0 {
		res.GoodPerCPU = float64(r.good) / r.cpu
	}
	if factor > 0 {
		res.Goodput = res.Good / peak
	}
	return res
}
