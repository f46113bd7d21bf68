package ranker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// run is one request under way: its clock, seed and deadline, which are fixed, and the timings,
// errors and degradations that the steps report. It belongs to the request's goroutine.
type run struct {
	req      *Request
	start    time.Time
	deadline time.Duration // from start
	now      int64         // Unix ms, the clock of ages and decay
	seed     uint64        // of tie-breaks and exploration

	timings  []Timing
	degraded []string // names, each once, in the order in which they occurred
	errs     []error
	coverage Coverage // of the inputs that were gathered last
	waited   bool     // for vectors
	short    bool     // see Response.ShortOfTime
	models   []*Model // that were acquired, one entry for each time
}

func newRun(req *Request, clock func() time.Time) *run {
	r := &run{
		req:      req,
		start:    req.Arrived,
		deadline: req.Deadline,
		now:      req.Time,
		seed:     req.Seed,
		timings:  make([]Timing, 0, 8),
		degraded: []string{},
		coverage: Coverage{Text: 1, Features: 1, Known: 1},
	}
	if r.start.IsZero() {
		r.start = time.Now()
	}
	if r.deadline == 0 {
		r.deadline = DefaultDeadline
	}
	if r.now == 0 {
		r.now = clock().UnixMilli()
	}
	if r.seed == 0 {
		r.seed = xxhash.Sum64String(req.User)
	}
	return r
}

// withDeadline fixes the request's deadline, measured from its start, and returns a context that
// ends then.
func (r *run) withDeadline(
	ctx context.Context, deadline time.Duration,
) (context.Context, context.CancelFunc) {
	r.deadline = deadline
	return context.WithDeadline(ctx, r.until(1))
}

// until returns the time at which the given share of the deadline, 0 to 1, has passed.
func (r *run) until(share float64) time.Time {
	return r.start.Add(time.Duration(share * float64(r.deadline)))
}

// stage returns a context that ends when the given share of the deadline has passed.
func (r *run) stage(ctx context.Context, share float64) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, r.until(share))
}

// timePerCandidate bounds what a stage in memory takes for each candidate. The real cost is about
// a fifth of it.
const timePerCandidate = 20 * time.Microsecond

// leavesTimeFor reports whether a stage that works in memory is certain to be done with n
// candidates when the given share of the deadline has passed. It may then run in the request's own
// goroutine. Otherwise it runs in a goroutine that the request can leave behind at that time.
func (r *run) leavesTimeFor(n int, share float64) bool {
	return time.Until(r.until(share)) > time.Duration(1+n)*timePerCandidate
}

// timing reports that a stage ran from since until now.
func (r *run) timing(stage string, since time.Time) {
	r.timings = append(r.timings, Timing{stage, time.Since(since)})
}

// degrade reports that the answer lacks something; name is one of those of Response.Degraded.
func (r *run) degrade(name string) {
	if !slices.Contains(r.degraded, name) {
		r.degraded = append(r.degraded, name)
	}
}

// releaseModels releases the models that the run acquired. It is called once, at the end.
func (r *run) releaseModels() {
	for _, m := range r.models {
		m.Release()
	}
}

// fail reports an error that costs quality but not the answer. what says what failed.
func (r *run) fail(what string, err error) {
	r.errs = append(r.errs, fmt.Errorf("%s: %w", what, err))
}
