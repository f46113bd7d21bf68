package ranker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"relish/internal/parallel"
)

// DefaultMaxAbandoned is the bound on the abandoned calls of a stage if Options.MaxAbandoned is 0.
// It is 4 times the default number of concurrent rankings: a ranking with a short deadline abandons
// calls that soon end, and these must not cost other rankings the stage.
const DefaultMaxAbandoned = 4 * 256

// StageStats counts the calls of one stage that outlived their slice of the deadline.
type StageStats struct {
	Stage string // StageFeatures, StageVectors or StageScorer; scorer includes the signals
	// Abandoned is how many calls run now whose request no longer waits for them.
	Abandoned int
	// AbandonedTotal is how many calls were ever abandoned.
	AbandonedTotal uint64
	// RefusedTotal is how many calls were not started because too many were abandoned.
	RefusedTotal uint64
}

// errTooManyAbandoned is the error of a call that was not started because its dependency hangs.
var errTooManyAbandoned = errors.New(
	"not started: too many earlier calls still run past their deadline")

// stageCalls owns the goroutines of one stage's calls into a dependency.
//
// A dependency may ignore its context and hang. The request then goes on without it at its
// deadline, and the call's goroutine is abandoned until the dependency returns. At most limit calls
// may be abandoned: from then on the stage fails at once and falls back, so that a hung dependency
// cannot pile up goroutines. Calls that are still waited for are not limited here; the server
// bounds the requests in flight.
type stageCalls struct {
	stage string
	limit int

	mu             sync.Mutex
	running        int // including abandoned
	abandoned      int
	abandonedTotal uint64
	refusedTotal   uint64
	idle           chan struct{} // closed when running drops to 0; nil while nobody waits for that
}

func newStageCalls(stage string, limit int) *stageCalls {
	return &stageCalls{stage: stage, limit: limit}
}

// stageCall is one call; stageCalls.mu guards it.
type stageCall struct {
	abandoned, ended bool
}

// begin admits a call, or returns errTooManyAbandoned.
func (c *stageCalls) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned >= c.limit {
		c.refusedTotal++
		return errTooManyAbandoned
	}
	c.running++
	return nil
}

// abandon reports that nobody waits for the call any more.
func (c *stageCalls) abandon(call *stageCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.ended {
		return
	}
	call.abandoned = true
	c.abandoned++
	c.abandonedTotal++
}

// end reports that the call's goroutine is about to return.
func (c *stageCalls) end(call *stageCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.ended = true
	if call.abandoned {
		c.abandoned--
	}
	if c.running--; c.running == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *stageCalls) stats() StageStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return StageStats{c.stage, c.abandoned, c.abandonedTotal, c.refusedTotal}
}

// wait returns when no call runs, or with an error when ctx ends.
func (c *stageCalls) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.running == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	running, idle := c.running, c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d calls of stage %s still run: %w", running, c.stage, ctx.Err())
	}
}

// runStage calls f in a goroutine that calls owns, and waits for it until ctx ends. If ctx has
// ended already, f is not called. A late result is dropped, so f must own everything that it writes
// to. A panic in f is returned as an error.
//
// The goroutine holds the model that f uses, which may be nil: an abandoned call may outlive the
// request, and the model must not be closed before it returns.
func runStage[T any](
	ctx context.Context, calls *stageCalls, model *Model, f func(context.Context) (T, error),
) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	if !model.Acquire() {
		return zero, fmt.Errorf("model %s is closed", model.Version)
	}
	if err := calls.begin(); err != nil {
		model.Release()
		return zero, err
	}
	call := &stageCall{}
	done := make(chan result, 1)
	go func() {
		defer calls.end(call)
		defer model.Release()
		var res result
		res.err = parallel.Catch(func() (err error) {
			res.value, err = f(ctx)
			return err
		})
		done <- res
	}()
	select {
	case res := <-done:
		return res.value, res.err
	case <-ctx.Done():
		calls.abandon(call)
		return zero, ctx.Err()
	}
}
