package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"relish/features/event"
	"relish/internal/redisconn"
)

const (
	batchRecords = 1000
	syncInterval = 250 * time.Millisecond // between two looks at Redis: verify, publish, refresh
	batchTimeout = 5 * time.Second        // for one batch, and for one look at Redis
	drainTimeout = 5 * time.Second        // for what is queued when the store closes
)

// syncer is the one goroutine that writes to Redis. It applies this replica's records, publishes
// its part of the counters, and refreshes the sum of all parts.
//
// Live records come from the queue. Records that Redis may lack come from the event log first.
// Records are therefore always applied in order, which appliedSeqs relies on.
type syncer struct {
	s      *Store
	own    *counterPart            // nil until Redis said what it has of this replica
	others map[uint64]*counterPart // the parts of other replicas that are loaded

	// Catching up, see catchup.go: the records from redoFrom to redoTo are to be applied again.
	redoFrom   uint64 // 0: none
	redoTo     uint64
	nextRecord func() (event.Record, error, bool) // reads them; nil while the log is not open
	stopLog    func()
	gotRecords bool   // nextRecord has returned a record
	unverified bool   // Redis was away: verify must find out what it still has
	masters    string // the servers that hold a cluster's keys, see redisconn.Conn.Masters

	// Reading the stream of changes, see cache.go.
	lastChange    string // id of the newest message that was read
	changesReadAt time.Time
}

func newSyncer(s *Store) *syncer {
	return &syncer{
		s: s, others: map[uint64]*counterPart{}, unverified: true, changesReadAt: time.Now(),
	}
}

func (sy *syncer) run(ctx context.Context) {
	t := time.NewTicker(syncInterval)
	defer t.Stop()
	defer sy.closeLog()
	sy.tick(ctx)
	for {
		select {
		case <-ctx.Done():
			sy.drain(context.WithoutCancel(ctx))
			return
		case <-sy.s.queue.wake:
			sy.applyQueued(ctx)
		case <-t.C:
			sy.tick(ctx)
		case <-sy.replayReady():
			sy.replay(ctx)
		}
	}
}

// closedChannel can always be received from.
var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// replayReady can be received from while there are records to apply again and Redis takes them.
func (sy *syncer) replayReady() <-chan struct{} {
	if sy.redoFrom != 0 && sy.own != nil && !sy.unverified && sy.s.conn.Up() {
		return closedChannel
	}
	return nil
}

// applyQueued applies the queued records. If older ones must go first, it leaves them to the
// replay.
func (sy *syncer) applyQueued(ctx context.Context) {
	for ctx.Err() == nil {
		records, overflowFrom := sy.s.queue.take(batchRecords)
		if overflowFrom != 0 {
			sy.requestReplay(overflowFrom, sy.s.LastSeq())
		}
		if len(records) == 0 {
			return
		}
		first, last := records[0].Seq, records[len(records)-1].Seq
		if sy.own == nil || sy.unverified || sy.redoFrom != 0 || !sy.s.conn.Up() {
			sy.requestReplay(first, last)
		} else if err := sy.apply(ctx, records); err != nil {
			sy.requestReplay(first, last)
		}
		sy.advance(last)
	}
}

// advance notes that the log was tried up to last, and what Redis is known to have.
func (sy *syncer) advance(last uint64) {
	sy.s.setBehind(sy.redoFrom != 0 || sy.own == nil || sy.unverified)
	sy.s.redoFrom.Store(sy.redoFrom)
	if sy.own != nil && sy.redoFrom == 0 {
		sy.own.appliedTo = max(sy.own.appliedTo, last)
	}
	sy.s.applied.raise(last)
}

// apply writes records to Redis and adds up the counters that they changed.
func (sy *syncer) apply(ctx context.Context, records []event.Record) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	err := sy.s.applyRecords(ctx, sy.own, records)
	sy.ownCountersChanged(sy.own.counters.TakeChanged())
	if errors.Is(err, errOvercounted) {
		sy.recount()
		return err
	}
	if err != nil {
		sy.redisFailed("apply events", err)
	}
	return err
}

// redisFailed reports a failure to the breaker, and has verify look at what Redis still has.
func (sy *syncer) redisFailed(operation string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	lost := errors.Is(err, errPartChanged)
	if !lost {
		sy.s.conn.Report(err)
	}
	switch {
	case sy.unverified:
	case lost:
		sy.s.log.Warn("Redis lost writes of this replica, as a server does that takes over; they " +
			"are applied again from the log")
	default:
		sy.s.log.Warn("Redis failed; rankings use local copies and events wait in the log",
			"operation", operation, "error", redisconn.Explain(err))
	}
	sy.unverified = true
	sy.s.setBehind(true)
}

// tick verifies what Redis has, publishes, and refreshes what other replicas published.
func (sy *syncer) tick(ctx context.Context) {
	if !sy.s.conn.Up() {
		sy.unverified = true
		sy.s.setBehind(true)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"verify", sy.verify},
		{"verify the connection of rankings", sy.s.tracking.Verify},
		{"publish counters", sy.publish},
		{"read other replicas' counters", sy.refreshOthers},
		{"read changes", sy.readChanges},
		{"share erasures", sy.shareErasures},
	} {
		if err := step.do(ctx); err != nil {
			sy.redisFailed(step.name, err)
			return
		}
	}
	sy.s.conn.Report(nil)
	sy.s.setBehind(sy.redoFrom != 0)
}

// drain writes what is queued to Redis before the store closes, if Redis answers. The log has it
// in any case.
func (sy *syncer) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	sy.applyQueued(ctx)
	if sy.own != nil && !sy.unverified && sy.s.conn.Up() {
		if err := sy.publish(ctx); err != nil {
			sy.redisFailed("publish counters", err)
		}
	}
}

// maxQueued bounds the records between the log and the syncer. The syncer reads what does not fit
// from the log.
const maxQueued = 1 << 16

// queue passes durable records to the syncer, in order.
type queue struct {
	mu           sync.Mutex
	records      []event.Record
	overflowFrom uint64        // the first record that did not fit; 0: none
	wake         chan struct{} // holds an element when there may be something to take
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

// add implements ingest.Options.Apply.
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

// take returns up to n records. When the queue is empty afterwards, it also returns the first
// record that did not fit, 0 for none.
func (q *queue) take(n int) (records []event.Record, overflowFrom uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.records))
	records = slices.Clone(q.records[:n])
	q.records = slices.Delete(q.records, 0, n)
	if len(q.records) == 0 {
		overflowFrom, q.overflowFrom = q.overflowFrom, 0
		q.records = nil
	}
	return records, overflowFrom
}

// watermark is a number that only rises, and that callers can wait for.
type watermark struct {
	mu     sync.Mutex
	at     uint64
	raised chan struct{} // closed and replaced whenever the number rises
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

// wait returns when the number has reached to, or when ctx ends.
func (w *watermark) wait(ctx context.Context, to uint64) {
	for {
		w.mu.Lock()
		at, raised := w.at, w.raised
		w.mu.Unlock()
		if at >= to {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-raised:
		}
	}
}
