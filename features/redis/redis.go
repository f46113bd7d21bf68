// Package redis is the store of several replicas that rank as one: each replica's journal on its own
// disk, and the state that all their events add up to in Redis or a Redis Cluster.
//
// Reading takes one round trip for user and candidates, whatever their count; a second one only for what
// this replica has never seen, such as an item of the user's history. The counters of everything and of
// field values are tables that each replica holds whole: each publishes the part that it counted
// itself, and sums all parts in the background.
//
// Writing is features.State's Apply, here in Go. A batch's users and items are fetched, the records
// applied, and the values stored by compare-and-set on their revision; who lost a race applies his records
// to the newer value. Each value says whose records it includes, so that applying again is
// harmless: that is how a crash between two keys, an outage, or a Redis that came back with less is
// repaired. docs/decisions/0006 has the reasoning.
//
// The event log stays the source of truth. While Redis is away events are acknowledged, rankings are
// made of what this replica saw last, and the answers say so.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/features/ingest"
	"relish/internal/redisconn"
	"relish/ranker"
)

// Options of a store. Of Journal, what a store sets itself is overwritten.
type Options struct {
	Journal ingest.Options
	// OnItem hears of items whose content this replica's events changed, after they were stored. It must
	// not block.
	OnItem func([]*ranker.ItemInfo)
	// ReadTimeout bounds a read on the request path, beside its context, for 0 candidates; 1,000 get as much
	// again. 0 = 20 ms.
	ReadTimeout time.Duration
	CacheBytes  int64         // for local copies; 0 = 256 MiB
	ClaimTTL    time.Duration // an event sent to two replicas within it counts once; 0 = 1 h
	// ApplyWait is how long an acknowledgement waits for its events to be in Redis. It is not needed for their
	// safety, only for the next ranking to see them. 0 = 50 ms.
	ApplyWait time.Duration
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	*ingest.Ingester
	dir       string
	opt       Options
	cfg       features.Config
	log       *slog.Logger
	conn      *redisconn.Conn
	keys      *keys
	cache     *localCache
	readSlots chan struct{} // holds one element for each ranking that is asking Redis
	replica   uint64

	mu       sync.RWMutex // guards tables: read by requests, written by the owner
	counters *features.Counters

	queue       queue
	applied     watermark
	behindSince atomic.Int64  // since when (Unix ns) Redis may lack records of the log, 0: it has them all
	redoFrom    atomic.Uint64 // the first of them, 0 for none that is known

	stats   struct{ conflicts, invalid, trips, stale atomic.Int64 }
	stop    context.CancelFunc
	syncing sync.WaitGroup
}

// Open opens the store on a data folder, which the caller has locked, and a connection, which stays the
// caller's and must live until Close. It does not wait for Redis.
func Open(dir string, conn *redisconn.Conn, cfg features.Config, opt Options) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opt.defaults()
	tables := features.NewCounters(cfg)
	s := &Store{
		dir: dir, opt: opt, cfg: cfg, log: opt.Journal.Log, conn: conn, counters: tables,
		keys: newKeys(conn.Prefix, tables.LayoutHash()), readSlots: make(chan struct{}, maxConcurrentReads),
	}
	s.queue.init()
	s.applied.init()
	s.setBehind(true)
	var err error
	if s.cache, err = newLocalCache(opt.CacheBytes); err != nil {
		return nil, err
	}
	// The log is not replayed here: the owner finds out what Redis lacks.
	opt.Journal.DedupeIDs, opt.Journal.AppliedSeq, opt.Journal.Apply, opt.Journal.Save = cfg.DedupeIDs, ^uint64(0), s.queue.add, nil
	if s.Ingester, err = ingest.Open(dir, opt.Journal); err != nil {
		s.cache.closeCache()
		return nil, err
	}
	if s.replica, err = strconv.ParseUint(s.Replica(), 16, 64); err != nil {
		return nil, errors.Join(fmt.Errorf("replica id %q: %w", s.Replica(), err), s.Ingester.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	o := newSyncer(s)
	s.syncing.Go(func() { o.run(ctx) })
	return s, nil
}

func (o *Options) defaults() {
	if o.ReadTimeout == 0 {
		o.ReadTimeout = 20 * time.Millisecond
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	if o.ClaimTTL == 0 {
		o.ClaimTTL = defaultClaimTTL
	}
	if o.ApplyWait == 0 {
		o.ApplyWait = 50 * time.Millisecond
	}
	if o.Journal.Log == nil {
		o.Journal.Log = discardLog
	}
}

const defaultClaimTTL = time.Hour

// maxConcurrentReads is how many rankings ask Redis at once. It has one thread: more of them would only make each other
// wait, and run into their timeouts with their questions half answered. The connections that are left are the
// owner's.
const maxConcurrentReads = 16

var discardLog = slog.New(slog.DiscardHandler)

// Append is the journal's, and then waits a little for the events to be seen by rankings.
func (s *Store) Append(ctx context.Context, events []event.Event) ([]event.EventOutcome, error) {
	out, err := s.Ingester.Append(ctx, events)
	if err == nil {
		s.waitApplied(ctx)
	}
	return out, err
}

// Forget erases a user, here and in Redis; see journal.Forget for the log.
func (s *Store) Forget(ctx context.Context, userID string) error {
	err := s.Ingester.Forget(ctx, userID)
	if err == nil {
		s.waitApplied(ctx)
	}
	s.cache.remove(userKey(userID))
	return err
}

// DeleteItem forgets an item's content and counters; known is false if there was nothing.
func (s *Store) DeleteItem(ctx context.Context, id string) (known bool, err error) {
	if _, known = s.Item(id); !known {
		return false, nil
	}
	if err = s.AppendDelete(ctx, id); err == nil {
		s.waitApplied(ctx)
	}
	s.cache.remove(itemKey(id))
	return true, err
}

// waitApplied waits for what is in the log to be tried on Redis, for a moment.
func (s *Store) waitApplied(ctx context.Context) {
	if !s.conn.Up() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.ApplyWait)
	defer cancel()
	s.applied.wait(ctx, s.LastSeq())
}

// UseTable makes c the current version of an imported table, see features.Tables.
func (s *Store) UseTable(name string, c *features.ExternalTable) { s.counters.UseTable(name, c) }

// Flush waits until Redis has everything that the log has, or ctx ends.
func (s *Store) Flush(ctx context.Context) error {
	for s.isBehind() || s.applied.value() < s.LastSeq() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Stats are the store's gauges and counters.
type Stats struct {
	ingest.Stats
	FieldValues int
	Lag         uint64 // records of the log that Redis has not been given
	Up          bool
	Behind      bool          // Redis may lack records of the log
	BehindFor   time.Duration // since when; local copies may be that old
	Outages     int64         // how often Redis was found to be away
	RoundTrips  int64         // round trips for rankings
	StaleReads  int64         // rankings made from local copies
	Conflicts   int64         // compare-and-sets that another replica won
	Invalid     int64         // values in Redis that were damaged
}

// Stats returns them as of now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	values := s.counters.Len()
	s.mu.RUnlock()
	st := Stats{
		Stats: s.Ingester.Stats(), FieldValues: values, Up: s.conn.Up(), Behind: s.isBehind(), Outages: s.conn.Opened(),
		RoundTrips: s.stats.trips.Load(), StaleReads: s.stats.stale.Load(), Conflicts: s.stats.conflicts.Load(), Invalid: s.stats.invalid.Load(),
	}
	if at := s.behindSince.Load(); at != 0 {
		st.BehindFor = time.Since(time.Unix(0, at))
	}
	done := s.applied.value()
	if redo := s.redoFrom.Load(); redo != 0 {
		done = redo - 1
	}
	if last := s.LastSeq(); last > done {
		st.Lag = last - done
	}
	return st
}

func (s *Store) isBehind() bool { return s.behindSince.Load() != 0 }

func (s *Store) setBehind(b bool) {
	if !b {
		s.behindSince.Store(0)
	} else {
		s.behindSince.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// Close writes what is queued to the log and to Redis, publishes this replica's part of the tables, and
// closes everything.
func (s *Store) Close() error {
	err := s.Ingester.Close()
	s.stop()
	s.syncing.Wait()
	s.cache.closeCache()
	return err
}
