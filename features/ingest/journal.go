// Package journal is one replica's durable intake, whatever store its events go to: the event log with
// its admission (validity, duplicates by event id, events of the future), the recording of
// impressions, and the erasing of forgotten users from the log.
//
// What is acknowledged is in the log. A checkpoint of the remembered event ids and of pending
// erasures makes the next start quick; the log's records after it are looked at again.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/ranker"
)

// Options of a journal. DedupeIDs and Apply are required.
type Options struct {
	MaxLogBytes int64         // size of the log at which Append fails with event.ErrFull; 0 = none
	RetainBytes int64         // see eventlog.Options
	RetainAge   time.Duration // see eventlog.Options
	EraseAfter  time.Duration // a forgotten user's records are rewritten out of the log within it; 0 = 24 h
	Checkpoint  time.Duration // time between checkpoints; 0 = 5 minutes
	DedupeIDs   int           // event ids remembered, by arrival
	Clock       func() time.Time
	Log         *slog.Logger

	// AppliedSeq is the last sequence that the store has already; Open gives Apply the log's later records.
	AppliedSeq uint64
	// Apply takes records that are durable, in order and one call at a time: during Open, and then on
	// the log's owner goroutine, before Append returns.
	Apply func([]event.Record)
	// Save makes durable what Apply made, so that the next start need not repeat it; nil = nothing to
	// save. It is called at every checkpoint, beside Apply.
	Save func() error
	// EraseUsers takes forgotten users, by features.UserHash, out of what Apply was not given and a checkpoint
	// does not replace; nil = there is nothing of the kind.
	EraseUsers func(hashes map[string]uint64) error
}

// Ingester is an open journal. All methods are safe for concurrent use.
type Ingester struct {
	dir string
	opt Options
	log *eventlog.Log

	mu  sync.Mutex // guards ids.ring and seq; written by the log's owner only
	ids *recentIDs
	seq uint64 // of the last record seen

	dropped atomic.Int64
	erase   eraser

	checkpointMu sync.Mutex // one checkpoint at a time
	savedSeq     atomic.Uint64
	stop         context.CancelFunc
	background   sync.WaitGroup
}

// LogDir returns where the event log of a data folder lies.
func LogDir(dir string) string { return filepath.Join(dir, "log") }

// Open opens the journal in dir, which is made if need be. The caller holds Lock(dir).
func Open(dir string, opt Options) (*Ingester, error) {
	opt.defaults()
	j := &Ingester{dir: dir, opt: opt}
	if err := j.restore(); err != nil {
		return nil, err
	}
	var err error
	j.log, err = eventlog.Open(LogDir(dir), eventlog.Options{
		MaxBytes: opt.MaxLogBytes, RetainBytes: opt.RetainBytes, RetainAge: opt.RetainAge, Clock: opt.Clock,
		Admit: j.admit, Commit: j.commit, Abort: j.abort,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	j.stop = stop
	j.background.Go(func() { j.runEvery(ctx, opt.Checkpoint, j.checkpointIfNew) })
	j.background.Go(func() { j.runEvery(ctx, opt.EraseAfter/4, j.eraseAndReport) })
	return j, nil
}

func (o *Options) defaults() {
	if o.EraseAfter == 0 {
		o.EraseAfter = 24 * time.Hour
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = 5 * time.Minute
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// runEvery calls f at the interval until ctx ends.
func (j *Ingester) runEvery(ctx context.Context, interval time.Duration, f func(context.Context)) {
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

// maxFuture is how far ahead of its arrival an event's time may be.
const maxFuture = 24 * time.Hour

// Append validates the events, makes the good new ones durable and has them applied; outcomes are
// aligned with events. The error is about all of them: event.ErrFull, event.ErrUnavailable, or ctx's.
// The journal owns the events afterwards.
func (j *Ingester) Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error) {
	return j.log.Append(ctx, events)
}

// admit runs on the log's owner goroutine.
func (j *Ingester) admit(e *ranker.Event, arrival int64) ranker.EventOutcome {
	if err := event.Validate(e); err != nil {
		return ranker.EventOutcome{Err: err}
	}
	if e.Time > arrival+maxFuture.Milliseconds() {
		return ranker.EventOutcome{Err: &ranker.EventError{Code: "time_in_future", Pointer: "/time", Message: "must not be more than 24 hours ahead of now"}}
	}
	return ranker.EventOutcome{Duplicate: !j.ids.admit(e.ID)}
}

func (j *Ingester) abort(records []event.Record) {
	for i := range records {
		j.ids.abort(records[i].Event.ID)
	}
}

func (j *Ingester) commit(records []event.Record) {
	j.mu.Lock()
	for i := range records {
		j.observe(&records[i])
	}
	j.mu.Unlock()
	j.opt.Apply(records)
}

// observe remembers a record's id and erasure. Callers hold mu.
func (j *Ingester) observe(rec *event.Record) {
	j.ids.commit(rec.Event.ID)
	j.erase.observe(rec)
	j.seq = rec.Seq
}

// Record implements ranker.Recorder: the impression goes to the log's queue, or is dropped and counted.
func (j *Ingester) Record(impression *ranker.Event) {
	if !j.log.TryAppend([]ranker.Event{*impression}) {
		j.dropped.Add(1)
	}
}

// AppendDelete writes that an item is gone.
func (j *Ingester) AppendDelete(ctx context.Context, itemID string) error {
	return j.appendServerEvent(ctx, ranker.Event{Kind: ranker.EventDelete, ID: uuid.NewString(), ItemID: itemID})
}

// appendServerEvent appends one event of the server's own making.
func (j *Ingester) appendServerEvent(ctx context.Context, e ranker.Event) error {
	out, err := j.log.Append(ctx, []ranker.Event{e})
	if err == nil && out[0].Err != nil {
		return out[0].Err
	}
	return err
}

// LastSeq returns the sequence of the last durable record, 0 for none.
func (j *Ingester) LastSeq() uint64 { return j.log.LastSeq() }

// Replica returns the log's replica id, 16 hex digits.
func (j *Ingester) Replica() string { return j.log.Replica() }

// Stats are the journal's gauges.
type Stats struct {
	LogBytes           int64
	DroppedImpressions int64
}

// Stats returns the gauges as of now.
func (j *Ingester) Stats() Stats {
	return Stats{LogBytes: j.log.Stats().Bytes, DroppedImpressions: j.dropped.Load()}
}

// Close applies what is queued, closes the log and writes a checkpoint.
func (j *Ingester) Close() error {
	j.stop()
	j.background.Wait()
	if err := j.log.Close(); err != nil {
		return err
	}
	if err := j.checkpoint(); err != nil {
		return fmt.Errorf("checkpoint: %w (nothing is lost: the next start replays the log)", err)
	}
	return nil
}
