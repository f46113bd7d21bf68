package embeddings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"relish/internal/parallel"
)

// ErrFailing says that the encoder fails on every text.
var ErrFailing = errors.New("the text encoder fails")

// A text that could not be encoded is not tried again for failureMemory. At most maxFailed such
// texts are remembered.
const (
	failureMemory = time.Minute
	maxFailed     = 4096
)

// failingPause is how long no text is encoded after the encoder has failed. Then the next texts
// show whether it works again.
const failingPause = 5 * time.Second

// probeText is a text that every encoder can encode.
const probeText = "a probe"

// Failing returns why the encoder failed on every text when it was used last, nil if it did not.
func (s *Service) Failing() error {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return s.queue.failure
}

// checkEncoder is called after a run that gave no text a vector. If the encoder fails on another
// text too, or has hung, the fault is not the texts': it returns an ErrFailing, and for some time
// requests rank without the texts at once, instead of waiting for runs that fail.
func (s *Service) checkEncoder(cause error) error {
	if !errors.Is(cause, context.DeadlineExceeded) {
		err := parallel.Catch(func() error {
			tokens := s.model.Tokenize(nil, probeText)
			out := [][]float32{make([]float32, s.model.Dim())}
			return s.model.Run(s.ctx, [][]int32{tokens}, out)
		})
		if err == nil {
			return nil
		}
	}
	err := fmt.Errorf("%w: %w", ErrFailing, cause)
	dropped := s.queue.pause(err)
	s.count.failed.Add(uint64(dropped))
	s.log.Error("the text encoder fails; items rank without the texts that have no vector",
		"error", cause, "again_after", failingPause, "texts_dropped", dropped)
	return err
}

// paused returns an ErrFailing while the queue takes no texts. Callers hold mu.
func (q *queue) paused() error {
	if q.failure == nil || time.Now().After(q.failingUntil) {
		return nil
	}
	return q.failure
}

// works notes that the encoder has encoded a text.
func (q *queue) works() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failure = nil
}

// pause keeps texts away from the encoder for failingPause, and ends the jobs that wait. It returns
// how many these were.
func (q *queue) pause(err error) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failure, q.failingUntil = err, time.Now().Add(failingPause)
	for _, j := range q.jobs {
		if !j.withWorker {
			q.detach(j)
			q.finish(j, err)
			dropped++
		}
	}
	return dropped
}

// rememberFailure keeps a text that could not be encoded from being tried again for failureMemory.
// Callers hold mu.
func (q *queue) rememberFailure(key uint64) {
	now := time.Now()
	if len(q.failed) >= maxFailed {
		for k, until := range q.failed {
			if now.After(until) {
				delete(q.failed, k)
			}
		}
		for k := range q.failed {
			if len(q.failed) < maxFailed {
				break
			}
			delete(q.failed, k)
		}
	}
	q.failed[key] = now.Add(failureMemory)
}
