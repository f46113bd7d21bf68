package redis

import (
	"context"
	"errors"
	"time"

	"relish/features/event"
)

const (
	batchRecords = 1000
	tick         = 250 * time.Millisecond // publishing, refreshing, looking whether Redis lost something
	batchTimeout = 5 * time.Second
	drainTimeout = 5 * time.Second
	maxChanges   = 10_000 // kept in the stream of changes, about
)

// owner is the one goroutine that writes this replica's records to Redis, publishes its part of the tables
// and refreshes the sum of all parts.
//
// Live records come from the queue. Whatever Redis may lack of older ones (since it was away, lost its memory,
// failed over, or this process crashed) is read from the log again before them: records are always applied in
// order, which is what a span relies on.
type owner struct {
	s      *Store
	part   *part            // nil until Redis was reached and said what it has of this replica
	others map[uint64]*part // other replicas' parts, as far as they are loaded

	redo    uint64 // records from here to upTo are to be applied again; 0: none
	upTo    uint64
	pull    func() (event.Record, error, bool) // reads them
	stopLog func()
	got     bool // pull has given something

	suspect   bool      // Redis was away: what it has must be looked at
	masters   string    // the processes that hold a cluster's keys
	change    string    // the newest message of the stream of changes that was seen
	refreshed time.Time // when the stream was last read
}

func newOwner(s *Store) *owner {
	return &owner{s: s, others: map[uint64]*part{}, suspect: true, refreshed: time.Now()}
}

func (o *owner) run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	defer o.endReplay()
	o.tick(ctx)
	for {
		select {
		case <-ctx.Done():
			o.drain()
			return
		case <-o.s.queue.wake:
			o.live(ctx)
		case <-t.C:
			o.tick(ctx)
		case <-o.more():
			o.replay(ctx)
		}
	}
}

// always is a channel that can always be received from.
var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// more is ready while there is something to replay and Redis to replay it to.
func (o *owner) more() <-chan struct{} {
	if o.redo != 0 && o.part != nil && !o.suspect && o.s.conn.Up() {
		return always
	}
	return nil
}

// live applies what is queued.
func (o *owner) live(ctx context.Context) {
	for ctx.Err() == nil {
		records, lost := o.s.queue.take(batchRecords)
		if lost != 0 {
			o.again(lost, o.s.LastSeq())
		}
		if len(records) == 0 {
			return
		}
		first, last := records[0].Seq, records[len(records)-1].Seq
		if o.part == nil || o.suspect || o.redo != 0 || !o.s.conn.Up() {
			o.again(first, last) // in order: what is older goes first
		} else if err := o.apply(ctx, records); err != nil {
			o.again(first, last)
		}
		o.mark(last)
	}
}

// mark says how far the log was tried, and what Redis is known to have.
func (o *owner) mark(last uint64) {
	o.s.setBehind(o.redo != 0 || o.part == nil || o.suspect)
	o.s.redo.Store(o.redo)
	if o.part != nil && o.redo == 0 {
		o.part.done = max(o.part.done, last)
	}
	o.s.applied.raise(last)
}

// apply brings records into Redis and their counts into the tables.
func (o *owner) apply(ctx context.Context, records []event.Record) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	err := o.s.apply(ctx, o.part, records)
	o.sum(o.part.own.TakeChanged())
	if err != nil {
		o.failed("applying events", err)
	}
	return err
}

// failed notes that Redis did not do what it should.
func (o *owner) failed(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	o.s.conn.Report(err)
	if !o.suspect {
		o.s.log.Warn("Redis failed; rankings use local copies, events wait in the log", "doing", what, "reason", err)
	}
	o.suspect = true
	o.s.setBehind(true)
}

// tick publishes and refreshes.
func (o *owner) tick(ctx context.Context) {
	if !o.s.conn.Up() {
		o.suspect = true
		o.s.setBehind(true)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"checking", o.check}, {"publishing", o.publish}, {"reading tables", o.refresh}, {"reading changes", o.changes}} {
		if err := step.do(ctx); err != nil {
			o.failed(step.name, err)
			return
		}
	}
	o.s.conn.Report(nil)
	o.s.setBehind(o.redo != 0)
}

// check finds out whether Redis still has what this replica wrote.
func (o *owner) check(ctx context.Context) error {
	m, err := o.s.manifestOf(ctx, o.s.replica)
	if err != nil {
		return err
	}
	if o.part == nil {
		return o.first(ctx, m)
	}
	moved, err := o.mastersMoved(ctx)
	if err != nil {
		return err
	}
	switch {
	case m == nil || moved:
		// Emptied, or a part of the cluster is another one: everything may be missing.
		o.republish()
		o.again(1, o.s.LastSeq())
	case o.suspect || m.version != o.part.version:
		// What was written after the manifest may be lost.
		o.republish()
		o.again(m.done+1, o.s.LastSeq())
	}
	if m != nil {
		o.part.version = max(o.part.version, m.version)
	}
	o.suspect = false
	return nil
}

// first loads what Redis has of this replica, and asks for the records after it.
func (o *owner) first(ctx context.Context, m *part) error {
	p := newPart(o.s.cfg, o.s.replica)
	if m != nil {
		changed, err := o.s.fill(ctx, p, m)
		if err != nil {
			return err
		}
		defer o.addUp(changed)
	}
	if _, err := o.mastersMoved(ctx); err != nil {
		return err
	}
	o.part, o.suspect = p, false
	o.again(min(p.done, p.span.low)+1, o.s.LastSeq())
	o.mark(p.done)
	return nil
}

func (o *owner) republish() {
	for n := range chunks {
		o.part.dirty[n] = true
	}
}

// mastersMoved reports whether a cluster's keys are held by other processes than before. A single server
// needs no such look: what it has of the manifest says what it has of the rest.
func (o *owner) mastersMoved(ctx context.Context) (bool, error) {
	if !o.s.conn.Cluster {
		return false, nil
	}
	now, err := o.s.conn.Masters(ctx)
	if err != nil {
		return false, err
	}
	moved := o.masters != "" && o.masters != now
	o.masters = now
	return moved, nil
}

// drain brings what is queued into Redis before the end, if it is there; the log has it in any case.
func (o *owner) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	o.live(ctx)
	if o.part != nil && !o.suspect && o.s.conn.Up() {
		if err := o.publish(ctx); err != nil {
			o.failed("publishing", err)
		}
	}
}
