package redis

import (
	"context"
	"slices"
	"sync"

	"relish/features/event"
)

// maxQueued bounds the records between log and owner; what does not fit is read from the log later.
const maxQueued = 1 << 16

// queue hands durable records to the owner, in order.
type queue struct {
	mu           sync.Mutex
	records      []event.Record
	overflowFrom uint64        // the first record that did not fit, 0 for none
	wake         chan struct{} // has an element when there may be something
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

// add implements journal.Options.Apply.
func (q *queue) add(records []event.Record) {
	q.mu.Lock()
	switch {
	case q.overflowFrom != 0:
	case len(q.records)+len(records) > maxQueued:
		q.overflowFrom = records[0].Seq
	default:
		q.records = append(q.records, records...)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns up to n records, and the first that was lost after them if all are taken.
func (q *queue) take(n int) (records []event.Record, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.records))
	records = slices.Clone(q.records[:n])
	q.records = slices.Delete(q.records, 0, n)
	if len(q.records) == 0 {
		lost, q.overflowFrom = q.overflowFrom, 0
		q.records = nil
	}
	return records, lost
}

// watermark is a rising number that can be waited for.
type watermark struct {
	mu     sync.Mutex
	at     uint64
	raised chan struct{} // closed and replaced at each move
}

func (w *watermark) init() { w.raised = make(chan struct{}) }

func (w *watermark) value() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *watermark) raise(to uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to > w.at {
		w.at = to
		close(w.raised)
		w.raised = make(chan struct{})
	}
}

// wait returns when the number is reached or ctx ends.
func (w *watermark) wait(ctx context.Context, to uint64) {
	for {
		w.mu.Lock()
		at, moved := w.at, w.raised
		w.mu.Unlock()
		if at >= to {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		}
	}
}
