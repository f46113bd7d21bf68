// Package memory is the embedded store: the event log on disk, and the state that it adds up to in
// memory. It needs no server.
//
// What is acknowledged is in the log and in the state (read your writes). A checkpoint of the state,
// written now and then and at the end, makes the next start quick; the log's records after it are
// applied again, and without a sound checkpoint all of them are.
package memory

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/ranker"
)

// Options of a store. The zero value works.
type Options struct {
	MaxLogBytes int64         // size of the log at which Append fails with event.ErrFull; 0 = none
	RetainBytes int64         // see eventlog.Options
	RetainAge   time.Duration // see eventlog.Options
	EraseAfter  time.Duration // a forgotten user's records are rewritten out of the log within it; 0 = 24 h
	Checkpoint  time.Duration // time between checkpoints; 0 = 5 minutes
	// OnItem hears of items whose content changed, after they were applied and in that order. It runs
	// on the log's owner goroutine and must not block.
	OnItem func([]*ranker.ItemInfo)
	Clock  func() time.Time
	Log    *slog.Logger
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	dir string
	opt Options
	log *eventlog.Log

	mu    sync.RWMutex // guards state and ids.ring; written by the log's owner only
	state *features.State
	ids   *recentIDs

	dropped atomic.Int64
	erase   eraser

	checkpointMu sync.Mutex // one checkpoint at a time
	stop         context.CancelFunc
	background   sync.WaitGroup
}

// LogDir returns where the event log of a data folder lies.
func LogDir(dir string) string { return filepath.Join(dir, "log") }

// Open opens the store in dir, which is made if need be. The caller holds Lock(dir).
func Open(dir string, cfg features.Config, opt Options) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opt.defaults()
	s := &Store{dir: dir, opt: opt}
	if err := s.restore(cfg); err != nil {
		return nil, err
	}
	var err error
	s.log, err = eventlog.Open(LogDir(dir), eventlog.Options{
		MaxBytes: opt.MaxLogBytes, RetainBytes: opt.RetainBytes, RetainAge: opt.RetainAge, Clock: opt.Clock,
		Admit: s.admit, Commit: s.commit, Abort: s.abort,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.background.Go(func() { s.every(ctx, opt.Checkpoint, s.checkpointIfMoved) })
	s.background.Go(func() { s.every(ctx, opt.EraseAfter/4, s.eraseQuietly) })
	return s, nil
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

// every calls f at the interval until ctx ends.
func (s *Store) every(ctx context.Context, interval time.Duration, f func(context.Context)) {
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

// future is how far ahead of its arrival an event's time may be.
const future = 24 * time.Hour

// Append validates the events, makes the good new ones durable and applies them; outcomes are aligned
// with events. A later Read sees them. The error is about all of them: event.ErrFull,
// event.ErrUnavailable, or ctx's. The store owns the events afterwards.
func (s *Store) Append(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	return s.log.Append(ctx, events)
}

// admit runs on the log's owner goroutine.
func (s *Store) admit(e *event.Event, arrival int64) event.Outcome {
	if err := e.Validate(); err != nil {
		return event.Outcome{Err: err}
	}
	if e.Time > arrival+future.Milliseconds() {
		return event.Outcome{Err: &event.Error{Code: "time_in_future", Pointer: "/time", Message: "must not be more than 24 hours ahead of now"}}
	}
	return event.Outcome{Duplicate: !s.ids.admit(e.ID)}
}

func (s *Store) abort(records []event.Record) {
	for i := range records {
		s.ids.abort(records[i].Event.ID)
	}
}

func (s *Store) commit(records []event.Record) {
	var changed []*ranker.ItemInfo
	s.mu.Lock()
	for i := range records {
		if info := s.state.Apply(&records[i]); info != nil {
			changed = append(changed, info)
		}
		s.ids.commit(records[i].Event.ID)
		s.erase.see(&records[i])
	}
	s.mu.Unlock()
	if len(changed) > 0 && s.opt.OnItem != nil {
		s.opt.OnItem(changed)
	}
}

// Record implements ranker.Recorder: the impression goes to the log's queue, or is dropped and counted.
func (s *Store) Record(imp *ranker.Impression) {
	if !s.log.TryAppend([]event.Event{event.FromImpression(imp)}) {
		s.dropped.Add(1)
	}
}

// Read implements ranker.Features.
func (s *Store) Read(ctx context.Context, q *ranker.Query) (*ranker.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Read(q)
}

// Item returns what is known of an item.
func (s *Store) Item(id string) (*ranker.Item, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if info := s.state.Item(id); info != nil {
		return &info.Item, true
	}
	return nil, false
}

// Items returns all described items as of now, by id.
func (s *Store) Items() []*ranker.ItemInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Items()
}

// DeleteItem forgets an item's content and counters; known is false if there was nothing.
func (s *Store) DeleteItem(ctx context.Context, id string) (known bool, err error) {
	if _, known = s.Item(id); !known {
		return false, nil
	}
	return true, s.appendOwn(ctx, event.Event{Kind: event.Delete, ID: uuid.NewString(), ItemID: id})
}

// appendOwn appends one event of the store's own making.
func (s *Store) appendOwn(ctx context.Context, e event.Event) error {
	out, err := s.log.Append(ctx, []event.Event{e})
	if err == nil && out[0].Err != nil {
		return out[0].Err
	}
	return err
}

// Stats are the store's gauges.
type Stats struct {
	Items, Users, FieldValues int
	LogBytes                  int64
	DroppedImpressions        int64
	Seq                       uint64
}

// Stats returns the gauges as of now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	items, users, values := s.state.Sizes()
	return Stats{Items: items, Users: users, FieldValues: values, LogBytes: s.log.Stats().Bytes,
		DroppedImpressions: s.dropped.Load(), Seq: s.state.Seq()}
}

// Close applies what is queued, writes a checkpoint and closes the log.
func (s *Store) Close() error {
	s.stop()
	s.background.Wait()
	if err := s.log.Close(); err != nil {
		return err
	}
	if err := s.checkpoint(); err != nil {
		return fmt.Errorf("checkpoint: %w (nothing is lost: the next start replays the log)", err)
	}
	return nil
}
