// Package memory is the embedded store: a journal on disk, and the state that its events add up to in
// memory. It needs no server.
//
// What is acknowledged is in the log and in the state (read your writes). A checkpoint of the state,
// written now and then and at the end, makes the next start quick; the log's records after it are
// applied again, and without a sound checkpoint all of them are.
package embedded

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"sync"

	"relish/features"
	"relish/features/event"
	"relish/features/ingest"
	"relish/ranker"
)

// Options of a store. The zero value works; of Journal, what a store sets itself is overwritten.
type Options struct {
	Ingest ingest.Options
	// OnItemsChanged hears of items whose content changed, after they were applied and in that order. It must
	// not block. It hears nothing of what Open replays.
	OnItemsChanged func([]*ranker.ItemInfo)
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	*ingest.Ingester
	dir            string
	onItemsChanged func([]*ranker.ItemInfo)

	mu    sync.RWMutex // guards state; written by the log's owner only
	state *features.State
	open  bool
}

// Open opens the store in dir, which is made if need be. The caller holds journal.Lock(dir).
func Open(dir string, cfg features.Config, opt Options) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, onItemsChanged: opt.OnItemsChanged}
	var err error
	if s.state, err = readState(s.checkpointPath(), cfg); err != nil {
		if !errors.Is(err, fs.ErrNotExist) && opt.Ingest.Log != nil {
			opt.Ingest.Log.Warn("the checkpoint is not used; replaying the log", "reason", err)
		}
		if s.state, err = loadBase(dir, cfg); err != nil {
			return nil, err
		}
	}
	opt.Ingest.DedupeIDs, opt.Ingest.AppliedSeq = cfg.DedupeIDs, s.state.Seq()
	opt.Ingest.Apply, opt.Ingest.Save, opt.Ingest.EraseUsers = s.apply, s.save, s.eraseBase
	if s.Ingester, err = ingest.Open(dir, opt.Ingest); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	return s, nil
}

func (s *Store) apply(records []event.Record) {
	var changed []*ranker.ItemInfo
	s.mu.Lock()
	for i := range records {
		if info := s.state.Apply(&records[i]); info != nil {
			changed = append(changed, info)
		}
	}
	tell := s.open && len(changed) > 0 && s.onItemsChanged != nil
	s.mu.Unlock()
	if tell {
		s.onItemsChanged(changed)
	}
}

func (s *Store) checkpointPath() string { return filepath.Join(s.dir, "checkpoint") }

// save makes the state the checkpoint. Reading goes on meanwhile, applying waits.
func (s *Store) save() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return writeState(s.checkpointPath(), s.state)
}

// Read implements ranker.Features.
func (s *Store) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
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

// Items returns all described items as of the call, by id. There are no errors.
func (s *Store) Items(context.Context) iter.Seq2[*ranker.ItemInfo, error] {
	s.mu.RLock()
	items := s.state.Items()
	s.mu.RUnlock()
	return func(yield func(*ranker.ItemInfo, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// UseTable makes c the current version of an imported table, see features.Tables.
func (s *Store) UseTable(name string, c *features.ExternalTable) { s.state.UseTable(name, c) }

// Flush returns at once: what is acknowledged is in the state.
func (s *Store) Flush(context.Context) error { return nil }

// DeleteItem forgets an item's content and counters; known is false if there was nothing.
func (s *Store) DeleteItem(ctx context.Context, id string) (known bool, err error) {
	if _, known = s.Item(id); !known {
		return false, nil
	}
	return true, s.AppendDelete(ctx, id)
}

// Stats are the store's gauges.
type Stats struct {
	ingest.Stats
	Items, Users, FieldValues int
	Seq                       uint64
}

// Stats returns the gauges as of now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	items, users, values := s.state.Sizes()
	return Stats{Stats: s.Ingester.Stats(), Items: items, Users: users, FieldValues: values, Seq: s.state.Seq()}
}
