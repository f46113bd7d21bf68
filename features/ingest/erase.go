package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/uuid"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/internal/durable"
	"relish/ranker"
)

// eraser remembers the users whose records must still be removed from the log. The log has an erase
// event for each of them. The file "erased" holds the sequence up to which erase events are done.
type eraser struct {
	mu        sync.Mutex
	pending   map[string]uint64 // features.UserHash -> sequence of the newest erase event
	encrypted map[string]uint64 // pending as the checkpoint had it, until the log's keys are known
	doneUpTo  uint64
}

// open decrypts what the checkpoint had. ok is false if a key of it is missing.
func (e *eraser) open(keys *event.UserKeys) (ok bool) {
	encrypted := e.encrypted
	e.encrypted, e.pending = nil, map[string]uint64{}
	for hash, seq := range encrypted {
		plain, err := keys.Decrypt(hash)
		if err != nil {
			return false
		}
		e.pending[plain] = seq
	}
	return true
}

// encrypt returns pending as a file may have it. Callers hold mu.
func (e *eraser) encrypt(keys *event.UserKeys) map[string]uint64 {
	encrypted := make(map[string]uint64, len(e.pending))
	for hash, seq := range e.pending {
		encrypted[keys.Encrypt(hash)] = seq
	}
	return encrypted
}

// erasedFile is the content of the file "erased".
type erasedFile struct {
	Replica string `json:"replica"` // id of the log; older versions did not write it
	UpTo    uint64 `json:"up_to"`
	// Segments has the sizes of the segments up to UpTo, by name. A segment of another size was put
	// back from a backup, and may have records of erased users again.
	Segments map[string]int64 `json:"segments"`
}

// ofLog reports whether the file belongs to the log of dir.
func (f *erasedFile) ofLog(dir string) (bool, error) {
	log, err := eventlog.Replica(LogDir(dir))
	return f.Replica == "" || log == "" || f.Replica == log, err
}

// holds reports whether the erasures up to UpTo are still done in the log of dir.
func (f *erasedFile) holds(dir string) (bool, error) {
	if own, err := f.ofLog(dir); err != nil || !own {
		return false, err
	}
	sizes, err := eventlog.Sizes(LogDir(dir), f.UpTo)
	if err != nil {
		return false, err
	}
	for name, size := range sizes {
		if done, known := f.Segments[name]; known && done != size {
			return false, nil
		}
	}
	return true, nil
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

func readErased(dir string) (done erasedFile, err error) {
	data, err := os.ReadFile(erasedPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return done, err
	}
	if err := json.Unmarshal(data, &done); err != nil {
		done = erasedFile{} // erase again, because a repeated erasure changes nothing
	}
	return done, nil
}

func (e *eraser) finish(upTo uint64) {
	e.doneUpTo = max(e.doneUpTo, upTo)
	for hash, seq := range e.pending {
		if seq <= upTo {
			delete(e.pending, hash)
		}
	}
}

// EraseUser erases a user. When it returns, the erase event is durable and applied. The user's
// records leave the log within Options.EraseAfter, or with the next EraseNow.
func (g *Ingester) EraseUser(ctx context.Context, userID string) error {
	return g.appendServerEvent(
		ctx,
		ranker.Event{
			Kind:     ranker.EventErase,
			ID:       uuid.NewString(),
			UserHash: features.UserHash(userID),
		},
	)
}

// EraseUserHash erases the user with a hash, after another replica erased the user at a time (Unix
// ms), with an erase event of the same id. A repeated call changes nothing.
func (g *Ingester) EraseUserHash(ctx context.Context, id, hash string, at int64) error {
	return g.appendServerEvent(ctx, ranker.Event{
		Kind: ranker.EventErase, ID: id, UserHash: hash, Time: min(at, g.clock().UnixMilli()),
	})
}

// PendingErasures returns the number of erased users whose records are still in the log.
func (g *Ingester) PendingErasures() int {
	g.erase.mu.Lock()
	defer g.erase.mu.Unlock()
	return len(g.erase.pending)
}

// PendingErasures returns the same for a data folder, which another process may have open.
func PendingErasures(dir string) (int, error) {
	var e eraser
	last := uint64(0)
	for rec, err := range eventlog.Read(LogDir(dir), 1) {
		var d *eventlog.Damage
		if err != nil && !errors.As(err, &d) {
			return 0, err
		}
		if err == nil {
			e.observe(&rec)
			last = rec.Seq
		}
	}
	done, err := readErased(dir)
	if err != nil {
		return 0, err
	}
	holds, err := done.holds(dir)
	if holds && done.UpTo <= last { // else the log is older than the file
		e.finish(done.UpTo)
	}
	return len(e.pending), err
}

func (g *Ingester) eraseAndReport(ctx context.Context) {
	if err := g.EraseNow(ctx); err != nil && ctx.Err() == nil {
		g.opt.Log.Error("cannot erase users from the event log; trying again later", "error", err)
	}
}

// EraseNow removes the records of all pending users from the log and writes a new checkpoint. It
// keeps what a user did after they were erased.
func (g *Ingester) EraseNow(ctx context.Context) error {
	g.erase.mu.Lock()
	pending := make(map[string]uint64, len(g.erase.pending))
	upTo := g.erase.doneUpTo
	for hash, seq := range g.erase.pending {
		pending[hash] = seq
		upTo = max(upTo, seq)
	}
	g.erase.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	if err := g.owned(); err != nil {
		return err
	}
	_, err := g.log.Rewrite(ctx, func(rec *event.Record) bool {
		return rec.Seq < pending[userKey(rec.Event.UserID)] ||
			rec.Seq < pending[userKey(rec.Event.Session)]
	})
	if err != nil {
		return err
	}
	if g.opt.EraseUsers != nil {
		if err := g.opt.EraseUsers(pending); err != nil {
			return err
		}
	}
	if err := g.checkpoint(); err != nil {
		return err
	}
	sizes, err := eventlog.Sizes(LogDir(g.dir), upTo)
	if err != nil {
		return err
	}
	data, err := json.Marshal(erasedFile{Replica: g.Replica(), UpTo: upTo, Segments: sizes})
	if err != nil {
		return err
	}
	if err := durable.WriteFile(g.opt.FS, erasedPath(g.dir), data); err != nil {
		return err
	}
	g.erase.mu.Lock()
	defer g.erase.mu.Unlock()
	g.erase.finish(upTo)
	return nil
}

// userKey is features.UserHash, and "" for no id.
func userKey(id string) string {
	if id == "" {
		return ""
	}
	return features.UserHash(id)
}
