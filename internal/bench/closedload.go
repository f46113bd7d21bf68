package bench

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// closedLoad sends requests over a fixed number of connections, which stay open between blocks.
// Each connection sends a request when the last one is answered.
type closedLoad struct {
	to            *target
	connections   []*connection
	candidates    int
	tellsDegraded bool // the answers say whether they used a fallback
	pid           int  // 0: not known
	next          atomic.Int64
}

func newClosedLoad(to *target, connections, candidates, pid int) *closedLoad {
	l := &closedLoad{to: to, candidates: candidates, pid: pid}
	for range connections {
		l.connections = append(l.connections, &connection{host: to.host})
	}
	return l
}

func (l *closedLoad) disconnect() {
	for _, c := range l.connections {
		c.disconnect()
	}
}

// block is what one service did with a load for a while.
type block struct {
	took     []time.Duration // of each complete answer, ascending
	errors   int64
	degraded int64
	elapsed  time.Duration
	cpu      time.Duration // processor time of the service
}

func (b block) rate() float64 { return float64(len(b.took)) / b.elapsed.Seconds() }

// p50 and p99 are latencies in microseconds, 0 if no answer was complete.
func (b block) p50() float64 { return b.percentile(50) }
func (b block) p99() float64 { return b.percentile(99) }

func (b block) percentile(percent int) float64 {
	if len(b.took) == 0 {
		return 0
	}
	return float64(b.took[(len(b.took)-1)*percent/100].Nanoseconds()) / 1000
}

// send sends the load for a time, and at least one request over each connection.
func (l *closedLoad) send(ctx context.Context, d time.Duration) (block, error) {
	parts := make([]block, len(l.connections))
	cpu := processorTime(l.pid)
	start := time.Now()
	var sending sync.WaitGroup
	for i := range l.connections {
		sending.Go(func() {
			for first := true; ctx.Err() == nil && (first || time.Since(start) < d); first = false {
				l.exchange(ctx, l.connections[i], &parts[i])
			}
		})
	}
	sending.Wait()
	b := block{elapsed: time.Since(start), cpu: processorTime(l.pid) - cpu}
	for _, p := range parts {
		b.took = append(b.took, p.took...)
		b.errors += p.errors
		b.degraded += p.degraded
	}
	slices.Sort(b.took)
	return b, ctx.Err()
}

// Marks of an item in an answer, by the names that Relish and Metarank give its id. Decoding each
// answer would take the processor from the service. A quotation mark inside a string is escaped, so
// that no id contains a mark.
var itemMarks = [][]byte{[]byte(`"id":"`), []byte(`"item":"`)}

// exchange sends one request and counts its answer.
func (l *closedLoad) exchange(ctx context.Context, c *connection, b *block) {
	request := l.to.requests[(l.next.Add(1)-1)%int64(len(l.to.requests))]
	start := time.Now()
	status, data, err := c.exchange(ctx, request)
	took := time.Since(start)
	items := 0
	for _, mark := range itemMarks {
		items += bytes.Count(data, mark)
	}
	if err != nil || status != http.StatusOK || items != l.candidates {
		b.errors++
		return
	}
	b.took = append(b.took, took)
	if l.tellsDegraded && !bytes.Contains(data, complete) {
		b.degraded++
	}
}

// quantile returns a quantile of the values, interpolated, 0 if there are none. It sorts them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	at := q * float64(len(values)-1)
	low := int(at)
	high := min(low+1, len(values)-1)
	return values[low] + (at-float64(low))*(values[high]-values[low])
}
