// Package eventlog is the durable log of events, from which all state can be rebuilt.
//
// One goroutine owns the log. It takes the queued events, asks Options.Admit about each of them,
// and numbers the admitted ones. It writes them with one write, makes them durable with one fsync,
// and passes them to Options.Commit in order. Only then do the callers return. An acknowledged
// event is therefore on disk and applied, and callers that arrive during one fsync share the next.
//
// If a write or an fsync fails, nothing of the batch is acknowledged. The owner truncates the file
// to its last durable length and never appends to it again: after a failed fsync the kernel may
// have dropped the pages, and a second fsync would lie. The next append opens a new segment that
// begins at the first sequence that was not acknowledged. Readers stop in the old segment where the
// new one begins, so they do not see leftovers even if truncating failed too.
//
// A killed process may leave complete records that no fsync reached. They were never acknowledged,
// but the next process reads them, and acknowledges a repeat of one as a duplicate. Open therefore
// rewrites the intact bytes of the newest segment in place, which makes their pages dirty again,
// and calls fsync before it accepts events. From then on everything that can be read is durable.
package eventlog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"relish/features/event"
	"relish/internal/durable"
	"relish/ranker"
)

// Log is an open log. All methods are safe for concurrent use. Only one process may have a log
// open; the caller must hold a lock on the folder.
type Log struct {
	dir       string
	opt       Options
	fs        durable.FS
	replica   [8]byte
	replicaID string // replica in hex
	userKeys  *event.UserKeys
	cutBytes  int64

	highWaterLost bool // the high-water mark was damaged when the log was opened

	missing     *Damage // the end of the log was missing when it was opened; nil: it was not
	missingFrom uint64  // the first sequence that may be missing then

	mu     sync.Mutex // guards queue, queued, closed
	wake   *sync.Cond
	queue  []*request
	queued int64 // bytes of the requests that have no outcome yet
	closed bool
	done   chan struct{}

	rewrite    sync.Mutex     // held while sealed segments are rewritten or dropped
	background sync.WaitGroup // of applyRetention

	// Used by the owner goroutine only.
	active      durable.File
	activePath  string
	activeFirst uint64    // first sequence of active
	activeBytes int64     // durable length of active
	abandoned   bool      // the newest segment was given up, and may end with what is not durable
	high        highWater // as on disk
	clock       *arrivalClock
	arrival     int64 // of the newest durable record, Unix ms
	buf         []byte

	next     atomic.Uint64 // the next sequence
	first    atomic.Uint64
	total    atomic.Int64 // bytes of all segments
	count    atomic.Int64 // segments
	syncs    atomic.Int64
	ahead    atomic.Int64 // Stats.ClockAhead
	full     atomic.Bool  // Stats.Full
	failures atomic.Int64
	refused  atomic.Int64 // events
}

// request is one Append in the queue.
type request struct {
	events   []ranker.Event
	outcomes []ranker.EventOutcome
	bytes    int64  // of the events in memory
	seal     bool   // seal the active segment; without events
	upTo     uint64 // after a seal: the last record in a sealed segment
	err      error
	onLost   func(n int) // of TryAppend; nil in other requests
	done     chan struct{}
}

// lost returns how many events did not become durable.
func (r *request) lost() (n int) {
	if r.err != nil {
		return len(r.events)
	}
	for _, out := range r.outcomes {
		if out.Duplicate || out.Err != nil {
			n++
		}
	}
	return n
}

// Open opens the log in dir and starts its owner goroutine. It creates the folder if needed, and
// cuts off an incomplete record at the end. Damage before the end does not fail Open; Read reports
// it.
func Open(dir string, opt Options) (*Log, error) {
	if opt.SegmentBytes == 0 {
		opt.SegmentBytes = 64 << 20
	}
	if opt.QueueBytes == 0 {
		opt.QueueBytes = 64 << 20
	}
	if opt.FS == nil {
		opt.FS = durable.Disk
	}
	if opt.Owned == nil {
		opt.Owned = func() error { return nil }
	}
	l := &Log{dir: dir, opt: opt, fs: opt.FS, done: make(chan struct{})}
	l.wake = sync.NewCond(&l.mu)
	if err := l.recoverLog(); err != nil {
		return nil, err
	}
	l.clock = newArrivalClock(&l.opt, l.arrival)
	go l.run()
	return l, nil
}

// Append makes the events durable, has them applied, and returns their outcomes, aligned with the
// events. The error concerns all of them: it wraps ranker.ErrLogFull or ranker.ErrLogUnavailable,
// or it is ctx's. After ctx's error the events may still become durable, and the log owns the
// slice. The log sets the Time of live events without one to their arrival.
func (l *Log) Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{
		events:   events,
		outcomes: make([]ranker.EventOutcome, len(events)),
		done:     make(chan struct{}),
	}
	if err := l.enqueue(r); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.outcomes, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TryAppend queues the events without waiting, and reports whether the queue accepted them. The log
// owns them afterwards. If some accepted events do not become durable, onLost gets their number,
// from the owner goroutine: the write failed, or they were rejected or duplicates.
func (l *Log) TryAppend(events []ranker.Event, onLost func(n int)) bool {
	r := &request{
		onLost:   onLost,
		events:   events,
		outcomes: make([]ranker.EventOutcome, len(events)),
		done:     make(chan struct{}),
	}
	return l.enqueue(r) == nil
}

func (l *Log) enqueue(r *request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("%w: the log is closed", ranker.ErrLogUnavailable)
	}
	for i := range r.events {
		r.bytes += int64(event.Size(&r.events[i]))
	}
	if l.queued > 0 && l.queued+r.bytes > l.opt.QueueBytes {
		l.refused.Add(int64(len(r.events)))
		return fmt.Errorf("%w: events of %d bytes are waiting for the disk",
			ranker.ErrLogUnavailable, l.queued)
	}
	l.queue = append(l.queue, r)
	l.queued += r.bytes
	l.wake.Signal()
	return nil
}

// LastSeq returns the sequence of the last durable record, 0 if there is none.
func (l *Log) LastSeq() uint64 { return l.next.Load() - 1 }

// FirstSeq returns the sequence at which the oldest segment begins.
func (l *Log) FirstSeq() uint64 { return l.first.Load() }

// Missing reports that the end of the log was missing when it was opened: the newest segment, or
// records up to Options.UsedUpTo. from is the first sequence that may be missing. It returns 0 and
// nil if nothing was missing.
func (l *Log) Missing() (from uint64, d *Damage) { return l.missingFrom, l.missing }

// HighWaterLost reports that the file that tells whether the end of the log is missing was damaged
// when the log was opened. The next record writes it again.
func (l *Log) HighWaterLost() bool { return l.highWaterLost }

// Replica returns the id of this log, 16 hex digits.
func (l *Log) Replica() string { return l.replicaID }

// Stats returns the current figures.
func (l *Log) Stats() Stats {
	return Stats{
		Bytes:    l.total.Load(),
		Segments: int(l.count.Load()),
		Syncs:    l.syncs.Load(),
		Failures: l.failures.Load(),
		Refused:  l.refused.Load(),
		Queued:   l.queuedBytes(),
		CutBytes: l.cutBytes,
		Full:     l.full.Load(),

		ClockAhead: time.Duration(l.ahead.Load()),
	}
}

func (l *Log) queuedBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued
}

// Close writes the queued events and closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.wake.Signal()
	l.mu.Unlock()
	<-l.done
	l.background.Wait()
	err := l.sealSegment()
	if l.opt.Owned() == nil {
		_ = l.recordSize() // it helps to find damage; a full disk does not fail Close
	}
	return err
}
