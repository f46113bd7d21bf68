package memory

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
)

// eraser keeps which users' records still have to be rewritten out of the log. An Erase event stands in
// the log first; the file "erased" names the sequence up to which erasures are done.
type eraser struct {
	mu             sync.Mutex
	pending        map[string]uint64 // user hash -> sequence of its newest Erase event
	done           uint64
	lastCheckpoint atomic.Uint64
}

// doneFile is what "erased" holds.
type doneFile struct {
	UpTo uint64 `json:"up_to"`
}

func donePath(dir string) string { return filepath.Join(dir, "erased") }

func (e *eraser) see(rec *event.Record) {
	if rec.Event.Kind != event.Erase {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending == nil {
		e.pending = map[string]uint64{}
	}
	e.pending[rec.Event.UserHash] = rec.Seq
}

// load drops the erasures that are done from the pending ones.
func (e *eraser) load(dir string) error {
	done, err := readDone(dir)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finish(done)
	return nil
}

func readDone(dir string) (uint64, error) {
	data, err := os.ReadFile(donePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var d doneFile
	if err := json.Unmarshal(data, &d); err != nil {
		return 0, nil // erasing again does no harm
	}
	return d.UpTo, nil
}

func (e *eraser) finish(upTo uint64) {
	e.done = max(e.done, upTo)
	for hash, seq := range e.pending {
		if seq <= upTo {
			delete(e.pending, hash)
		}
	}
}

// Forget erases a user: the tombstone is durable and his state gone on return; his records are
// rewritten out of the log within Options.EraseAfter, or by EraseNow.
func (s *Store) Forget(ctx context.Context, userID string) error {
	return s.appendOwn(ctx, event.Event{Kind: event.Erase, ID: uuid.NewString(), UserHash: features.UserHash(userID)})
}

// PendingErasures returns how many users' records still stand in log segments.
func (s *Store) PendingErasures() int {
	s.erase.mu.Lock()
	defer s.erase.mu.Unlock()
	return len(s.erase.pending)
}

// Pending returns the same for a folder that may be open elsewhere.
func Pending(dir string) (int, error) {
	var e eraser
	for rec, err := range eventlog.Read(LogDir(dir), 1) {
		var d *eventlog.Damage
		if err != nil && !errors.As(err, &d) {
			return 0, err
		}
		if err == nil {
			e.see(&rec)
		}
	}
	err := e.load(dir)
	return len(e.pending), err
}

func (s *Store) eraseQuietly(ctx context.Context) {
	if err := s.EraseNow(ctx); err != nil && ctx.Err() == nil {
		s.opt.Log.Error("erasing from the event log failed; it is tried again", "reason", err)
	}
}

// EraseNow rewrites all pending users' records out of the log and writes a new checkpoint. What a
// forgotten user does after that is new.
func (s *Store) EraseNow(ctx context.Context) error {
	s.erase.mu.Lock()
	pending := make(map[string]uint64, len(s.erase.pending))
	upTo := s.erase.done
	for hash, seq := range s.erase.pending {
		pending[hash] = seq
		upTo = max(upTo, seq)
	}
	s.erase.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	_, err := s.log.Rewrite(ctx, func(rec *event.Record) bool {
		return rec.Seq < pending[userOf(rec.Event.UserID)] || rec.Seq < pending[userOf(rec.Event.Session)]
	})
	if err != nil {
		return err
	}
	if err := s.checkpoint(); err != nil {
		return err
	}
	data, err := json.Marshal(doneFile{UpTo: upTo})
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(donePath(s.dir), data, 0o644); err != nil {
		return err
	}
	s.erase.mu.Lock()
	defer s.erase.mu.Unlock()
	s.erase.finish(upTo)
	return nil
}

// userOf is UserHash, and no key at all for no id.
func userOf(id string) string {
	if id == "" {
		return ""
	}
	return features.UserHash(id)
}
