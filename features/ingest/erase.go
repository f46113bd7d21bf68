package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/ranker"
)

// eraser keeps which users' records still have to be rewritten out of the log. An Erase event stands in
// the log first; the file "erased" names the sequence up to which erasures are done.
type eraser struct {
	mu       sync.Mutex
	pending  map[string]uint64 // user hash -> sequence of its newest Erase event
	doneUpTo uint64
}

// erasedFile is what "erased" holds.
type erasedFile struct {
	UpTo uint64 `json:"up_to"`
}

func erasedPath(dir string) string { return filepath.Join(dir, "erased") }

func (e *eraser) observe(rec *event.Record) {
	if rec.Event.Kind != ranker.EventErase {
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
	done, err := readErasedUpTo(dir)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finish(done)
	return nil
}

func readErasedUpTo(dir string) (uint64, error) {
	data, err := os.ReadFile(erasedPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var d erasedFile
	if err := json.Unmarshal(data, &d); err != nil {
		return 0, nil // erasing again does no harm
	}
	return d.UpTo, nil
}

func (e *eraser) finish(upTo uint64) {
	e.doneUpTo = max(e.doneUpTo, upTo)
	for hash, seq := range e.pending {
		if seq <= upTo {
			delete(e.pending, hash)
		}
	}
}

// Forget erases a user: the tombstone is durable and applied on return; his records are rewritten out of the log within Options.EraseAfter, or by EraseNow.
func (j *Ingester) Forget(ctx context.Context, userID string) error {
	return j.appendServerEvent(ctx, ranker.Event{Kind: ranker.EventErase, ID: uuid.NewString(), UserHash: features.UserHash(userID)})
}

// PendingErasures returns how many users' records still stand in log segments.
func (j *Ingester) PendingErasures() int {
	j.erase.mu.Lock()
	defer j.erase.mu.Unlock()
	return len(j.erase.pending)
}

// PendingErasures returns the same for a folder that may be open elsewhere.
func PendingErasures(dir string) (int, error) {
	var e eraser
	for rec, err := range eventlog.Read(LogDir(dir), 1) {
		var d *eventlog.Damage
		if err != nil && !errors.As(err, &d) {
			return 0, err
		}
		if err == nil {
			e.observe(&rec)
		}
	}
	err := e.load(dir)
	return len(e.pending), err
}

func (j *Ingester) eraseAndReport(ctx context.Context) {
	if err := j.EraseNow(ctx); err != nil && ctx.Err() == nil {
		j.opt.Log.Error("erasing from the event log failed; it is tried again", "reason", err)
	}
}

// EraseNow rewrites all pending users' records out of the log and writes a new checkpoint. What a
// forgotten user does after that is new.
func (j *Ingester) EraseNow(ctx context.Context) error {
	j.erase.mu.Lock()
	pending := make(map[string]uint64, len(j.erase.pending))
	upTo := j.erase.doneUpTo
	for hash, seq := range j.erase.pending {
		pending[hash] = seq
		upTo = max(upTo, seq)
	}
	j.erase.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	_, err := j.log.Rewrite(ctx, func(rec *event.Record) bool {
		return rec.Seq < pending[userKey(rec.Event.UserID)] || rec.Seq < pending[userKey(rec.Event.Session)]
	})
	if err != nil {
		return err
	}
	if j.opt.EraseUsers != nil {
		if err := j.opt.EraseUsers(pending); err != nil {
			return err
		}
	}
	if err := j.checkpoint(); err != nil {
		return err
	}
	data, err := json.Marshal(erasedFile{UpTo: upTo})
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(erasedPath(j.dir), data, 0o644); err != nil {
		return err
	}
	j.erase.mu.Lock()
	defer j.erase.mu.Unlock()
	j.erase.finish(upTo)
	return nil
}

// userKey is UserHash, and no key at all for no id.
func userKey(id string) string {
	if id == "" {
		return ""
	}
	return features.UserHash(id)
}
