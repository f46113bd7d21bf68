// Package redis is the feature store of several replicas that rank as one. Each replica keeps its
// own event log on its own disk. Redis, or a Redis Cluster, holds the state that all logs add up
// to.
//
// # Who writes what
//
// Every user and every item is one value in Redis that all replicas share. A replica reads the
// value, applies its events with the code of the embedded store ([features.State]) and writes the
// value back by compare-and-set on a random revision. If another replica was faster, the replica
// reads the newer value and applies its events to that. No event is lost, and no lock is held.
//
// Counters of field values (all items of a genre) change with almost every event, so all replicas
// would compete for them. Each replica therefore counts its own events into its own part of the
// counters. It publishes that part four times a second, with a manifest, and adds up all parts in
// memory. No other replica writes to its part.
//
// # Why an event counts once
//
// Each value says which records of which replica's log it includes, and so does each manifest.
// Applying a record again is therefore harmless, and one procedure repairs everything: read the
// log again from the first record that Redis may lack. The manifest says where that is after a
// crash, an outage or a failover. A Redis that came back empty has no manifest, and the whole log
// is applied again. An event that was sent to two replicas is claimed by the first one.
//
// # How a ranking reads
//
// Decoded copies of users and items are kept. One connection reads values, and on it Redis
// announces every later change of what was read (redisconn.TrackingReader). So a ranking makes one
// round trip: it reads what it has no current copy of, or asks with a PING whether all copies still
// are. While Redis answers the PING, the features are computed from the copies. Replies and
// announcements come in order, so a ranking sees whatever another replica has acknowledged.
//
// On a cluster, and if Redis announces no changes, one round trip fetches the user and all
// candidates, and copies are kept by revision. Another one follows only for contents that this
// replica has not seen yet. If Redis does not answer in time, the copies are served, and the state
// says that it is stale. While Redis is away, events are still acknowledged, because the event log
// is the source of truth.
//
// # Reading order of the files
//
//	store.go          opening, options, statistics
//	layout.go         keys, and the format of a user's or item's value
//	apply.go          a batch of records on its way into Redis: claim, load, apply
//	compareandset.go  the end of that way: store by compare-and-set, announce what changed
//	counters.go       the replica's own part of the counters: manifest, chunks, sum of all parts
//	partstate.go      how a replica notices that Redis lost its writes
//	syncer.go         the one goroutine that writes, and the queue that feeds it
//	repeats.go        claims of events, and records whose event another replica has counted
//	erasures.go       how an erasure reaches every replica
//	catchup.go        what Redis may lack, and reading it from the log again
//	cache.go          decoded local copies
//	clock.go          the memory that holds them, bounded in bytes
//	read.go           the read path of rankings: what is asked, and when
//	stateread.go      one ranking's read: the copies, and the state that they make
//	answers.go        what a read makes of the answers, and the user's history
//	dump.go           reading everything
//	restore.go        replacing everything, from a dump or from the replicas' logs
//	repository.go     imported feature columns that replicas share
//
// docs/decisions/0006-redis-values-record-what-they-include.md and
// docs/decisions/0036-redis-announces-what-changed.md give the reasons and the alternatives.
package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"relish/features"
	"relish/features/ingest"
	"relish/internal/durable"
	"relish/internal/redisconn"
	"relish/ranker"
)

// DefaultReadTimeout is Options.ReadTimeout if that is 0.
const DefaultReadTimeout = 20 * time.Millisecond

// Options configure a store. The zero value works.
type Options struct {
	// Ingest configures the event log. The store overwrites DedupeIDs, AppliedSeq, Apply and Save.
	Ingest ingest.Options
	// OnItem is called with the items whose content this replica's events changed, after they were
	// stored. It must not block.
	OnItem func([]*ranker.ItemInfo)
	// ReadTimeout bounds what a ranking without candidates waits for Redis. 1,000 candidates
	// double it. The context of the request bounds the wait as well. 0 means DefaultReadTimeout.
	ReadTimeout time.Duration
	// CacheBytes bounds the memory of decoded local copies. 0 means 256 MiB.
	CacheBytes int64
	// ClaimTTL is the time within which an event that was sent to two replicas counts once.
	// 0 means 1 hour.
	ClaimTTL time.Duration
	// ApplyWait bounds how long an acknowledgement waits until its events are in Redis. The events
	// are safe without that wait; it only lets the next ranking see them. 0 means 50 ms.
	ApplyWait time.Duration
}

const defaultClaimTTL = time.Hour

// maxConcurrentReads bounds the rankings that ask Redis at the same time. Redis has one thread:
// more rankings would make each other wait until all of them time out with half an answer. The
// remaining connections of the pool are for the syncer.
const maxConcurrentReads = 16

var discardLog = slog.New(slog.DiscardHandler)

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
	tracking  *redisconn.TrackingReader // nil on a cluster
	readSlots chan struct{}             // holds one element for each ranking that is asking Redis
	replica   uint64

	mu       sync.RWMutex // guards counters: requests read them, the syncer writes them
	counters *features.Counters

	queue       queue
	repeats     *repeats
	erasures    *erasures
	applied     watermark     // up to this record of the log the syncer has tried to write to Redis
	behindSince atomic.Int64  // since when (Unix ns) Redis may lack records; 0: it lacks none
	redoFrom    atomic.Uint64 // the first record that Redis may lack; 0: unknown or none

	stats struct {
		conflicts, idConflicts, invalid, trips, stale atomic.Int64

		olderLog atomic.Bool
	}
	uncounted *features.Uncounted
	stop      context.CancelFunc
	syncing   sync.WaitGroup
}

// Open opens the store on a data folder, which the caller has locked. It waits for Redis at
// most half a second. The connection stays the caller's and must live until Close.
func Open(dir string, conn *redisconn.Conn, cfg features.Config, opt Options) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	counters := features.NewCounters(cfg)
	s := &Store{
		dir: dir, opt: opt, cfg: cfg, log: opt.Ingest.Log, conn: conn, counters: counters,
		keys:      newKeys(conn.Prefix, counters.LayoutHash()),
		readSlots: make(chan struct{}, maxConcurrentReads),
		uncounted: &features.Uncounted{},
		cache:     newLocalCache(opt.CacheBytes),
	}
	s.queue.init()
	s.applied.init()
	s.setBehind(true)
	var err error
	// The ingester does not replay the log: the syncer finds out what Redis lacks.
	opt.Ingest.DedupeIDs, opt.Ingest.AppliedSeq = cfg.DedupeIDs, ingest.AllApplied
	opt.Ingest.Apply, opt.Ingest.Save = s.queue.add, nil
	opt.Ingest.UsedUpTo = s.usedInRedis()
	if s.Ingester, err = ingest.Open(dir, opt.Ingest); err != nil {
		return nil, err
	}
	if s.replica, err = parseReplica(s.Replica()); err == nil {
		s.repeats, err = openRepeats(dir, s.replica, s.FirstSeq())
	}
	if err == nil {
		s.erasures, err = openErasures(dir, s.Replica(), s.UserKeys(), opt.Ingest.FS)
	}
	if err != nil {
		return nil, errors.Join(err, s.Ingester.Close())
	}
	s.tracking = conn.NewTrackingReader()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	sy := newSyncer(s)
	s.syncing.Go(func() { sy.run(ctx) })
	return s, nil
}

func (o *Options) setDefaults() {
	if o.ReadTimeout == 0 {
		o.ReadTimeout = DefaultReadTimeout
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
	if o.Ingest.Log == nil {
		o.Ingest.Log = discardLog
	}
	if o.Ingest.FS == nil {
		o.Ingest.FS = durable.Disk
	}
}

// Append makes the events durable, as [ingest.Ingester.Append] does. Then it waits up to
// Options.ApplyWait until rankings can see them.
func (s *Store) Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error) {
	out, err := s.Ingester.Append(ctx, events)
	if err == nil {
		s.waitApplied(ctx)
	}
	return out, err
}

// EraseUser erases a user from this replica and from Redis, and has every other replica erase them
// as well. For the log see [ingest.Ingester.EraseUser].
func (s *Store) EraseUser(ctx context.Context, userID string) error {
	err := s.Ingester.EraseUser(ctx, userID)
	if err == nil {
		s.waitApplied(ctx)
	}
	s.cache.remove(userKey(userID))
	return err
}

// DeleteItem deletes an item's content and counters. known is false if the item was unknown.
func (s *Store) DeleteItem(ctx context.Context, id string) (known bool, err error) {
	if _, known = s.readItem(ctx, id); !known {
		return false, nil
	}
	if err = s.AppendDelete(ctx, id); err == nil {
		s.waitApplied(ctx)
	}
	s.cache.remove(itemKey(id))
	return true, err
}

// waitApplied waits until the syncer has tried to write the whole log to Redis, at most ApplyWait.
func (s *Store) waitApplied(ctx context.Context) {
	if !s.conn.Up() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.ApplyWait)
	defer cancel()
	s.applied.wait(ctx, s.LastSeq())
}

// UseTable makes c the current version of an imported table, see [features.Counters.UseTable].
func (s *Store) UseTable(name string, c *features.ExternalTable) { s.counters.UseTable(name, c) }

// Flush waits until Redis has every record of the log. It returns the context's error if ctx ends
// first.
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
	Lag         uint64        // records of the log that Redis has not been given
	Up          bool          // Redis answers
	Tracking    bool          // Redis announces what changes, so that rankings read only that
	Behind      bool          // Redis may lack records of the log
	BehindFor   time.Duration // for how long that is so; local copies may be that old
	LastError   error         // why Redis failed last; nil if it did not
	Outages     int64         // how often Redis stopped answering
	RoundTrips  int64         // round trips for rankings
	StaleReads  int64         // rankings made from local copies
	Conflicts   int64         // compare-and-sets that another replica won
	IDConflicts int64         // events whose id another replica gave to an event of other content
	Invalid     int64         // damaged values that were read from Redis
	Uncounted   *features.Uncounted
	// OlderLog says that Redis has records of this replica that its log lacks, and that new ones
	// may get their numbers: an older copy of the log was put back while Redis did not answer.
	OlderLog bool
}

// Stats returns the current figures.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	fieldValues := s.counters.Len()
	s.mu.RUnlock()
	st := Stats{
		Stats: s.Ingester.Stats(), FieldValues: fieldValues,
		Up: s.conn.Up(), Tracking: s.tracking.Connected(), Behind: s.isBehind(),
		Outages: s.conn.Opened(), LastError: s.conn.LastError(),
		RoundTrips: s.stats.trips.Load(), StaleReads: s.stats.stale.Load(),
		Conflicts: s.stats.conflicts.Load(), IDConflicts: s.stats.idConflicts.Load(),
		Invalid:   s.stats.invalid.Load(),
		Uncounted: s.uncounted,
		OlderLog:  s.stats.olderLog.Load(),
	}
	if since := s.behindSince.Load(); since != 0 {
		st.BehindFor = time.Since(time.Unix(0, since))
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

// Close writes what is queued to the log and to Redis, publishes this replica's part of the
// counters, and closes the store. The connection stays open.
func (s *Store) Close() error {
	err := s.Ingester.Close()
	s.stop()
	s.syncing.Wait()
	s.tracking.Close()
	return err
}
