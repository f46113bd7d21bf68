// Package ingest takes in the events of one replica, whichever store keeps the state.
//
// An Ingester validates events, rejects events from the future, drops duplicates, rejects events
// with the id of another event, and writes the rest to the event log. It records impressions, and
// it removes erased users from the log.
//
// An acknowledged event is in the log. A checkpoint of the remembered event ids and of the pending
// erasures makes the next start quick: only the log's records after it are read again.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/internal/durable"
	"relish/ranker"
)

// AllApplied is the Options.AppliedSeq of a store that finds out by itself what it lacks.
const AllApplied = ^uint64(0)

// Ingester takes in events. All methods are safe for concurrent use.
type Ingester struct {
	dir string
	opt Options
	log *eventlog.Log

	mu  sync.Mutex // guards ids and seq, which only the log's owner goroutine writes
	ids *recentIDs
	seq uint64 // of the last observed record
	// owned fails if another process may have locked the folder, see ownedCheck.
	owned func() error
	// replica is the id of the log that seq counts, "" until the log is open.
	replica string

	dropped atomic.Int64
	erase   eraser

	checkpointMu sync.Mutex // one checkpoint at a time
	savedSeq     atomic.Uint64
	stop         context.CancelFunc
	background   sync.WaitGroup
}

// LogDir returns the folder of the event log in a data folder.
func LogDir(dir string) string { return filepath.Join(dir, "log") }

// Open opens the ingester of the data folder dir, and creates the folder if needed. The caller
// must hold Lock(dir).
func Open(dir string, opt Options) (*Ingester, error) {
	opt.defaults()
	g := &Ingester{dir: dir, opt: opt, owned: ownedCheck(dir)}
	if err := durable.RemoveTemporary(opt.FS, dir); err != nil {
		return nil, err
	}
	if err := g.loadCheckpoint(); err != nil {
		return nil, err
	}
	done, undone, err := g.loadErased()
	if err != nil {
		return nil, err
	}
	g.log, err = eventlog.Open(LogDir(dir), eventlog.Options{
		MaxBytes: opt.MaxLogBytes, MinFreeBytes: opt.MinFreeBytes, QueueBytes: opt.QueueBytes,
		SegmentBytes: opt.SegmentBytes,
		RetainBytes:  opt.RetainBytes, RetainAge: opt.RetainAge,
		Clock: opt.Clock, AcceptClock: opt.AcceptClock, OnClock: g.onClock,
		BeforeDrop: g.beforeDrop, FS: opt.FS, Replica: g.identity(), Owned: g.owned,
		UsedUpTo: max(opt.UsedUpTo, g.usedUpTo(done)),
		Admit:    g.admit, Commit: g.commit, Abort: g.abort,
	})
	if err != nil {
		return nil, err
	}
	g.replica = g.log.Replica()
	if g.log.HighWaterLost() {
		g.opt.Log.Warn("log.highwater was damaged and is written again; whether records at the " +
			"end of the event log are missing cannot be told")
	}
	if n := g.log.Stats().CutBytes; n > 0 {
		g.opt.Log.Warn("an incomplete end of the event log was cut off; its events were "+
			"never acknowledged", "bytes", n)
	}
	// A checkpoint with another key is of a log that is gone. This one is searched for erasures.
	undone = !g.erase.open(g.log.UserKeys()) || undone
	if err := g.replay(done, undone); err != nil {
		return nil, errors.Join(err, g.log.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.background.Go(func() { g.runEvery(ctx, opt.Checkpoint, g.checkpointIfNew) })
	g.background.Go(func() { g.runEvery(ctx, opt.EraseAfter/4, g.eraseAndReport) })
	return g, nil
}

func (o *Options) defaults() {
	if o.EraseAfter == 0 {
		o.EraseAfter = 24 * time.Hour
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = durable.Disk
	}
	if o.ReplayCheckpoint == 0 {
		o.ReplayCheckpoint = defaultReplayCheckpoint
	}
}

// runEvery calls f at the interval until ctx ends.
func (g *Ingester) runEvery(ctx context.Context, interval time.Duration, f func(context.Context)) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f(ctx)
		}
	}
}

// Append validates the events, makes the valid new ones durable and has them applied. The outcomes
// are aligned with the events. The error concerns all of them: it wraps ranker.ErrLogFull or
// ranker.ErrLogUnavailable, or it is ctx's. The ingester owns the events afterwards.
func (g *Ingester) Append(
	ctx context.Context,
	events []ranker.Event,
) ([]ranker.EventOutcome, error) {
	return g.log.Append(ctx, events)
}

// admit runs on the log's owner goroutine.
func (g *Ingester) admit(e *ranker.Event, arrival int64) ranker.EventOutcome {
	if err := event.Validate(e); err != nil {
		return ranker.EventOutcome{Err: err}
	}
	if e.Time != 0 {
		if err := event.CheckTime(e.Time, max(arrival, g.clock().UnixMilli())); err != nil {
			return ranker.EventOutcome{Err: &ranker.EventError{
				Code: "time_in_future", Pointer: "/time", Message: err.Error(),
			}}
		}
	}
	id := event.IdentityOf(e, arrival)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.ids.admit(id) {
	case repeated:
		return ranker.EventOutcome{Duplicate: true}
	case conflict:
		return ranker.EventOutcome{Err: errConflict(e)}
	}
	return ranker.EventOutcome{}
}

// errConflict is the error for an event with the id of another event.
func errConflict(e *ranker.Event) *ranker.EventError {
	reason := "another event of this source has this id and other content: give each event an id " +
		"of its own, and repeat an event unchanged"
	if e.Kind == ranker.EventImpression {
		reason = "another event has this id and other content: interactions name an impression " +
			"by its id, so give it one that no other source uses"
	}
	return &ranker.EventError{Code: "id_conflict", Pointer: "/id", Message: reason}
}

// clock returns the time of the system, which may be ahead of the arrivals.
func (g *Ingester) clock() time.Time {
	if g.opt.Clock != nil {
		return g.opt.Clock()
	}
	return time.Now()
}

// onClock reports that arrivals stopped following the clock, or follow it again.
func (g *Ingester) onClock(ahead time.Duration) {
	if ahead == 0 {
		g.opt.Log.Info("arrival times follow the clock again")
		return
	}
	g.opt.Log.Error("the clock stepped ahead; arrival times go on from the last one until the "+
		"clock is right. If it is right already, start again with --accept-clock",
		"ahead", ahead.String())
}

func (g *Ingester) abort(records []event.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range records {
		g.ids.abort(event.IDHash(&records[i].Event))
	}
}

func (g *Ingester) commit(records []event.Record) {
	g.mu.Lock()
	for i := range records {
		g.observe(&records[i])
	}
	g.mu.Unlock()
	g.opt.Apply(records)
	if g.opt.OnCommit != nil {
		g.opt.OnCommit(records)
	}
}

// observe remembers the admitted id of a durable record, or the erasure that it orders. Callers
// hold mu.
func (g *Ingester) observe(rec *event.Record) {
	g.ids.commit(event.IDHash(&rec.Event))
	g.erase.observe(rec)
	g.seq = rec.Seq
}

// Record implements ranker.Recorder. It counts the impressions that the log does not take.
func (g *Ingester) Record(impression *ranker.Event) {
	onLost := func(n int) { g.dropped.Add(int64(n)) }
	if !g.log.TryAppend([]ranker.Event{*impression}, onLost) {
		g.dropped.Add(1)
	}
}

// AppendDelete appends the event that an item was deleted.
func (g *Ingester) AppendDelete(ctx context.Context, itemID string) error {
	return g.appendServerEvent(
		ctx, ranker.Event{Kind: ranker.EventDelete, ID: uuid.NewString(), ItemID: itemID},
	)
}

// appendServerEvent appends one event of a kind that clients cannot send.
func (g *Ingester) appendServerEvent(ctx context.Context, e ranker.Event) error {
	out, err := g.log.Append(ctx, []ranker.Event{e})
	if err == nil && out[0].Err != nil {
		return out[0].Err
	}
	return err
}

// LastSeq returns the sequence of the last durable record, 0 if there is none.
func (g *Ingester) LastSeq() uint64 { return g.log.LastSeq() }

// FirstSeq returns the sequence at which the log begins; retention raises it.
func (g *Ingester) FirstSeq() uint64 { return g.log.FirstSeq() }

// EndMissing reports whether the end of the log was missing when it was opened.
func (g *Ingester) EndMissing() bool {
	_, d := g.log.Missing()
	return d != nil
}

// Replica returns the id of the event log, 16 hex digits.
func (g *Ingester) Replica() string { return g.log.Replica() }

// UserKeys returns the keys that encrypt the hashes of erased users in files of the data folder.
func (g *Ingester) UserKeys() *event.UserKeys { return g.log.UserKeys() }

// Stats are the gauges of an ingester.
type Stats struct {
	LogBytes           int64 // size of the event log
	LogFull            bool  // the log refuses events because it or its disk is full
	LogFailures        int64 // see eventlog.Stats
	LogQueueBytes      int64 // memory of events that wait for the disk
	LogQueueRefused    int64 // events, impressions included, that found the queue full
	DroppedImpressions int64 // impressions that the queue or the log did not take
	// ClockAhead is how far the clock is ahead of the arrivals; 0 unless it stepped ahead and
	// nobody has confirmed that it is right.
	ClockAhead time.Duration
}

// Stats returns the current gauges.
func (g *Ingester) Stats() Stats {
	log := g.log.Stats()
	return Stats{
		LogQueueBytes: log.Queued, LogQueueRefused: log.Refused,
		LogBytes: log.Bytes, LogFull: log.Full, LogFailures: log.Failures,
		DroppedImpressions: g.dropped.Load(), ClockAhead: log.ClockAhead,
	}
}

// Close writes and applies the queued events, closes the log and writes a checkpoint.
func (g *Ingester) Close() error {
	g.stop()
	g.background.Wait()
	if err := g.log.Close(); err != nil {
		return err
	}
	if err := g.checkpoint(); err != nil {
		return fmt.Errorf(
			"write the checkpoint: %w; no event is lost, the next start replays the log", err,
		)
	}
	return nil
}
