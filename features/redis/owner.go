package redis

import (
	"context"
	"errors"
	"time"

	"relish/features/event"
)

const (
	batchRecords = 1000
	syncInterval = 250 * time.Millisecond // publishing, refreshing, looking whether Redis lost something
	batchTimeout = 5 * time.Second
	drainTimeout = 5 * time.Second
	maxChanges   = 10_000 // kept in the stream of changes, about
)

// syncer is the one goroutine that writes this replica's records to Redis, publishes its part of the tables
// and refreshes the sum of all parts.
//
// Live records come from the queue. Whatever Redis may lack of older ones (since it was away, lost its memory,
// failed over, or this process crashed) is read from the log again before them: records are always applied in
// order, which is what a span relies on.
type syncer struct {
	s      *Store
	own    *counterPart            // nil until Redis was reached and said what it has of this replica
	others map[uint64]*counterPart // other replicas' parts, as far as they are loaded

	redoFrom   uint64 // records from here to upTo are to be applied again; 0: none
	redoTo     uint64
	nextRecord func() (event.Record, error, bool) // reads them
	stopLog    func()
	gotRecords bool // pull has given something

	unverified    bool      // Redis was away: what it has must be looked at
	masters       string    // the processes that hold a cluster's keys
	lastChange    string    // the newest message of the stream of changes that was seen
	changesReadAt time.Time // when the stream was last read
}

func newSyncer(s *Store) *syncer {
	return &syncer{s: s, others: map[uint64]*counterPart{}, unverified: true, changesReadAt: time.Now()}
}

func (o *syncer) run(ctx context.Context) {
	t := time.NewTicker(syncInterval)
	defer t.Stop()
	defer o.endReplay()
	o.tick(ctx)
	for {
		select {
		case <-ctx.Done():
			o.drain()
			return
		case <-o.s.queue.wake:
			o.applyQueued(ctx)
		case <-t.C:
			o.tick(ctx)
		case <-o.replayReady():
			o.replay(ctx)
		}
	}
}

// closedChannel is a channel that can always be received from.
var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// replayReady is ready while there is something to replay and Redis to replay it to.
func (o *syncer) replayReady() <-chan struct{} {
	if o.redoFrom != 0 && o.own != nil && !o.unverified && o.s.conn.Up() {
		return closedChannel
	}
	return nil
}

// applyQueued applies what is queued.
func (o *syncer) applyQueued(ctx context.Context) {
	for ctx.Err() == nil {
		records, lost := o.s.queue.take(batchRecords)
		if lost != 0 {
			o.requestReplay(lost, o.s.LastSeq())
		}
		if len(records) == 0 {
			return
		}
		first, last := records[0].Seq, records[len(records)-1].Seq
		if o.own == nil || o.unverified || o.redoFrom != 0 || !o.s.conn.Up() {
			o.requestReplay(first, last) // in order: what is older goes first
		} else if err := o.apply(ctx, records); err != nil {
			o.requestReplay(first, last)
		}
		o.advance(last)
	}
}

// advance says how far the log was tried, and what Redis is known to have.
func (o *syncer) advance(last uint64) {
	o.s.setBehind(o.redoFrom != 0 || o.own == nil || o.unverified)
	o.s.redoFrom.Store(o.redoFrom)
	if o.own != nil && o.redoFrom == 0 {
		o.own.appliedTo = max(o.own.appliedTo, last)
	}
	o.s.applied.raise(last)
}

// apply brings records into Redis and their counts into the tables.
func (o *syncer) apply(ctx context.Context, records []event.Record) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	err := o.s.applyRecords(ctx, o.own, records)
	o.countersChanged(o.own.counters.TakeChanged())
	if err != nil {
		o.redisFailed("applying events", err)
	}
	return err
}

// redisFailed notes that Redis did not do what it should.
func (o *syncer) redisFailed(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	o.s.conn.Report(err)
	if !o.unverified {
		o.s.log.Warn("Redis failed; rankings use local copies, events wait in the log", "doing", what, "reason", err)
	}
	o.unverified = true
	o.s.setBehind(true)
}

// tick publishes and refreshes.
func (o *syncer) tick(ctx context.Context) {
	if !o.s.conn.Up() {
		o.unverified = true
		o.s.setBehind(true)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"checking", o.verify}, {"publishing", o.publish}, {"reading tables", o.refreshOthers}, {"reading changes", o.readChanges}} {
		if err := step.do(ctx); err != nil {
			o.redisFailed(step.name, err)
			return
		}
	}
	o.s.conn.Report(nil)
	o.s.setBehind(o.redoFrom != 0)
}

// verify finds out whether Redis still has what this replica wrote.
func (o *syncer) verify(ctx context.Context) error {
	m, err := o.s.manifestOf(ctx, o.s.replica)
	if err != nil {
		return err
	}
	if o.own == nil {
		return o.loadOwnPart(ctx, m)
	}
	moved, err := o.mastersMoved(ctx)
	if err != nil {
		return err
	}
	switch {
	case m == nil || moved:
		// Emptied, or a part of the cluster is another one: everything may be missing.
		o.markAllDirty()
		o.requestReplay(1, o.s.LastSeq())
	case o.unverified || m.version != o.own.version:
		// What was written after the manifest may be lost.
		o.markAllDirty()
		o.requestReplay(m.appliedTo+1, o.s.LastSeq())
	}
	if m != nil {
		o.own.version = max(o.own.version, m.version)
	}
	o.unverified = false
	return nil
}

// loadOwnPart loads what Redis has of this replica, and asks for the records after it.
func (o *syncer) loadOwnPart(ctx context.Context, m *counterPart) error {
	p := newCounterPart(o.s.cfg, o.s.replica)
	if m != nil {
		changed, err := o.s.loadChunks(ctx, p, m)
		if err != nil {
			return err
		}
		defer o.sumCounters(changed)
	}
	if _, err := o.mastersMoved(ctx); err != nil {
		return err
	}
	o.own, o.unverified = p, false
	o.requestReplay(min(p.appliedTo, p.applied.upTo)+1, o.s.LastSeq())
	o.advance(p.appliedTo)
	return nil
}

func (o *syncer) markAllDirty() {
	for n := range chunkCount {
		o.own.dirtyChunks[n] = true
	}
}

// mastersMoved reports whether a cluster's keys are held by other processes than before. A single server
// needs no such look: what it has of the manifest says what it has of the rest.
func (o *syncer) mastersMoved(ctx context.Context) (bool, error) {
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
func (o *syncer) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	o.applyQueued(ctx)
	if o.own != nil && !o.unverified && o.s.conn.Up() {
		if err := o.publish(ctx); err != nil {
			o.redisFailed("publishing", err)
		}
	}
}
