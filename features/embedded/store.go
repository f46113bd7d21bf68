// Package embedded is the store that needs no server: an event log on disk, and the state in
// memory.
//
// An acknowledged event is in the log and in the state, so a client reads its own writes. The store
// writes a checkpoint of the state at intervals and on Close, which makes the next start quick:
// only the log's records after it are applied again. Without an intact checkpoint the whole log is
// applied.
//
// base.go handles states that the log does not have, such as a restored snapshot, or what came of
// records that retention dropped.
package embedded

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/features/ingest"
	"relish/internal/durable"
	"relish/ranker"
)

// Options of a Store. The zero value works.
type Options struct {
	// Ingest configures the Ingester. The store overwrites DedupeIDs, AppliedSeq, AppliedReplica,
	// Apply, Save, BeforeDrop and EraseUsers.
	Ingest ingest.Options
	// OnItemsChanged gets the items whose content changed, after they were applied and in that
	// order. It must not block. It gets nothing while Open replays the log.
	OnItemsChanged func([]*ranker.ItemInfo)
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	*ingest.Ingester
	dir            string
	fs             durable.FS
	cfg            features.Config
	onItemsChanged func([]*ranker.ItemInfo)

	mu    sync.RWMutex // guards state, which only the log's owner goroutine changes
	state *features.State
	open  bool // Open has finished

	saveMu  sync.Mutex  // one save of the state at a time
	serving atomic.Bool // Open has finished, and Close was not called
	baseMu  sync.Mutex  // guards the files of the bases, and keep
	keep    keepRequest // the next checkpoint becomes the base "kept"
}

// Open opens the store of the data folder dir, and creates the folder if needed. The caller must
// hold ingest.Lock(dir).
func Open(dir string, cfg features.Config, opt Options) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opt.Ingest.FS == nil {
		opt.Ingest.FS = durable.Disk
	}
	s := &Store{dir: dir, fs: opt.Ingest.FS, cfg: cfg, onItemsChanged: opt.OnItemsChanged}
	var unusable, err error
	if s.state, unusable, err = loadNewest(dir, cfg); err != nil {
		return nil, err
	}
	switch {
	case opt.Ingest.Log == nil || unusable == nil || errors.Is(unusable, fs.ErrNotExist):
	case errors.Is(unusable, features.ErrLayout), errors.Is(unusable, errOtherConfig):
		opt.Ingest.Log.Info("state: or text: in the configuration has changed, or an earlier " +
			"version wrote the checkpoint, so the whole log is replayed; this is normal and " +
			"happens once")
	default:
		opt.Ingest.Log.Warn("cannot use the checkpoint; replaying the whole log instead",
			"error", unusable)
	}
	opt.Ingest.DedupeIDs = cfg.DedupeIDs
	opt.Ingest.AppliedSeq, opt.Ingest.AppliedReplica = s.state.Seq(), s.state.Replica()
	opt.Ingest.Apply, opt.Ingest.Save, opt.Ingest.EraseUsers = s.apply, s.save, s.eraseBase
	opt.Ingest.BeforeDrop = s.advanceBase
	if s.Ingester, err = ingest.Open(dir, opt.Ingest); err != nil {
		return nil, err
	}
	if err := s.completeBase(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.EndMissing() {
		s.baseMu.Lock()
		s.keep.request() // of records that only the state has
		s.baseMu.Unlock()
		if err := s.save(); err != nil && opt.Ingest.Log != nil {
			opt.Ingest.Log.Warn("cannot write the state yet; trying again with the next checkpoint",
				"error", err)
		}
	}
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.serving.Store(true)
	return s, nil
}

// Close writes and applies the queued events, closes the log and writes a checkpoint.
func (s *Store) Close() error {
	s.serving.Store(false)
	return s.Ingester.Close()
}

func (s *Store) apply(records []event.Record) {
	var changed []*ranker.ItemInfo
	s.mu.Lock()
	for i := range records {
		if info := s.state.Apply(&records[i]); info != nil {
			changed = append(changed, info)
		}
	}
	notify := s.open && len(changed) > 0 && s.onItemsChanged != nil
	s.mu.Unlock()
	if notify {
		s.onItemsChanged(changed)
	}
}

func (s *Store) checkpointPath() string { return filepath.Join(s.dir, "checkpoint") }

// save writes the state as the checkpoint, while events are applied and rankings read.
func (s *Store) save() error {
	s.baseMu.Lock()
	keep := s.keep
	s.baseMu.Unlock()
	if err := s.writeState(s.checkpointPath()); err != nil {
		return err
	}
	return s.keepCheckpoint(keep)
}

// While the store serves, a save rests after each step for restFactor times as long as the step
// took, at most maxRest, so that it leaves the processors to rankings.
const (
	restFactor = 4
	maxRest    = 10 * time.Millisecond
)

// writeState writes the state as of now to a file. It holds the lock for short steps only, and
// never while it writes.
func (s *Store) writeState(path string) error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	return durable.Replace(s.fs, path, func(w io.Writer) error {
		s.mu.Lock()
		save := s.state.BeginSave()
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			save.End()
		}()
		out := bufio.NewWriterSize(w, 1<<18)
		var packed, written []byte
		for more := true; more; {
			start := time.Now()
			s.mu.RLock()
			packed, more = save.Next(written)
			s.mu.RUnlock()
			if _, err := out.Write(packed); err != nil {
				return err
			}
			written = packed
			if more && s.serving.Load() {
				time.Sleep(min(restFactor*time.Since(start), maxRest))
			}
		}
		return out.Flush()
	})
}

// Read implements ranker.StateReader.
func (s *Store) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Read(q)
}

// ReadNow implements ranker.MemoryReader. It does not wait while events are applied or a checkpoint
// is written.
func (s *Store) ReadNow(q *ranker.FeatureQuery) (state *ranker.RequestState, ok bool, err error) {
	if !s.mu.TryRLock() {
		return nil, false, nil
	}
	defer s.mu.RUnlock()
	state, err = s.state.Read(q)
	return state, true, err
}

// Item implements ranker.Store.
func (s *Store) Item(id string) (*ranker.Item, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if info := s.state.Item(id); info != nil {
		item := info.Item()
		return &item, true
	}
	return nil, false
}

// itemsAtOnce bounds the items that one hold of the lock collects.
const itemsAtOnce = 4096

// Items implements ranker.Store. It yields the items as of the call, sorted by id, and never an
// error. An item that changes during the call comes in its old or its new form. One that is removed
// and added again during the call comes once, or is left out as if it were added after the call.
func (s *Store) Items(context.Context) iter.Seq2[*ranker.ItemInfo, error] {
	var items []*ranker.ItemInfo
	for at, first := uint32(0), true; first || at > 0; first = false {
		s.mu.RLock()
		var part []*ranker.ItemInfo
		part, at = s.state.ItemsFrom(at, itemsAtOnce)
		s.mu.RUnlock()
		items = append(items, part...)
	}
	features.SortItems(items)
	// An item that was removed and added again may be in two parts.
	items = slices.CompactFunc(items, func(a, b *ranker.ItemInfo) bool { return a.ID == b.ID })
	return func(yield func(*ranker.ItemInfo, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// UseTable implements external.Target.
func (s *Store) UseTable(
	name string,
	table *features.ExternalTable,
) {
	s.state.UseTable(name, table)
}

// Flush implements ranker.Store. It returns at once, because the state includes every acknowledged
// event.
func (s *Store) Flush(context.Context) error { return nil }

// DeleteItem implements ranker.Store.
func (s *Store) DeleteItem(ctx context.Context, id string) (known bool, err error) {
	if _, known = s.Item(id); !known {
		return false, nil
	}
	return true, s.AppendDelete(ctx, id)
}

// Stats are the gauges of a store.
type Stats struct {
	ingest.Stats
	Items, Users, FieldValues int
	Seq                       uint64 // of the last applied record
	Uncounted                 *features.Uncounted
}

// Stats returns the current gauges.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	items, users, values := s.state.Sizes()
	return Stats{
		Stats:       s.Ingester.Stats(),
		Items:       items,
		Users:       users,
		FieldValues: values,
		Seq:         s.state.Seq(),
		Uncounted:   s.state.Uncounted(),
	}
}
