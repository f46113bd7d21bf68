package trends

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/durable"
)

// FollowerOptions configure a Follower. Dir, Actions and Fields are required.
type FollowerOptions struct {
	Dir     string // the data folder, which the caller has locked
	Actions []string
	// Fields returns the names of the fields to count. It is called once a second.
	Fields func() ([]string, error)
	FS     durable.FS   // nil: durable.Disk
	Log    *slog.Logger // nil: nothing is logged
}

// Follower keeps Counts of the event log of a data folder. Observe gives it new records; what it
// did not get that way, it reads from the log. All methods are safe for concurrent use.
type Follower struct {
	opt FollowerOptions

	mu     sync.RWMutex // guards counts
	counts *Counts      // nil before Run has opened them, and while there is nothing to count
	saved  uint64       // sequence up to which the file counts

	pendingMu sync.Mutex
	// pending are records in the order of the log, with what counts of them. They may begin later
	// than counts end.
	pending      []event.Record
	pendingBytes int

	lastSeq func() uint64 // of the log; nil before Run
}

const (
	// followPause is the time between two looks at the log, and savePause between two saves.
	followPause = time.Second
	savePause   = 5 * time.Minute
	// applyBatch is how many records of the log are counted while readers wait.
	applyBatch = 256
)

// NewFollower returns a follower. It counts nothing until Run is called.
func NewFollower(opt FollowerOptions) *Follower {
	if opt.FS == nil {
		opt.FS = durable.Disk
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Follower{opt: opt}
}

// Path returns the file of the counts in a data folder.
func Path(dir string) string { return filepath.Join(dir, "trends") }

// Log is what a Follower reads its log by. features/ingest.Ingester implements it.
type Log interface {
	FirstSeq() uint64
	LastSeq() uint64
	Replica() string
}

// Run counts until ctx ends, and then writes the file. It passes the outcome of each round to
// report. Run is called once.
func (f *Follower) Run(ctx context.Context, log Log, report func(error)) {
	save := time.Now().Add(savePause)
	seen := log.LastSeq() // records up to it that Observe has not given are read from the log
	for {
		err := f.round(ctx, log, seen)
		seen = log.LastSeq()
		if err == nil && time.Now().After(save) {
			err, save = f.save(), time.Now().Add(savePause)
		}
		if ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			if err := f.save(); err != nil {
				f.opt.Log.Error("the next start reads more of the event log", "error", err)
			}
			return
		case <-time.After(followPause):
		}
	}
}

// round counts what is new, at least up to the record seen.
func (f *Follower) round(ctx context.Context, log Log, seen uint64) error {
	if err := f.useFields(log); err != nil {
		return err
	}
	f.mu.Lock()
	f.drain()
	from := uint64(0)
	if f.counts != nil && f.counts.seq < seen {
		from = f.counts.seq + 1
	}
	f.mu.Unlock()
	if from == 0 {
		return nil
	}
	return f.catchUp(ctx, from, log.LastSeq())
}

// useFields opens the counts, or changes which fields are counted. A new field is counted in the
// whole log. If the log has lost its beginning, the other fields are kept as they are, and a new
// one is counted from now on.
func (f *Follower) useFields(log Log) error {
	fields, err := f.opt.Fields()
	if err != nil {
		return fmt.Errorf("which fields are counted: %w", err)
	}
	now := f.counts // only Run's goroutine replaces it
	next := New(fields, f.opt.Actions)
	if now == nil && len(next.fields) == 0 || now != nil && now.sameAs(next) {
		return nil
	}
	known := now
	if known == nil {
		known = f.open(log)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case known == nil:
	case known.sameAs(next):
		next = known
	case log.FirstSeq() > 1 || next.countsLess(known):
		next.adopt(known)
	default:
		f.opt.Log.Info("the counted fields have changed; the event log is counted again",
			"fields", fields)
	}
	next.replica = log.Replica()
	f.counts, f.lastSeq = next, log.LastSeq
	return nil
}

// open returns the counts of the file, nil if there are none of this log.
func (f *Follower) open(log Log) *Counts {
	c, err := readFile(Path(f.opt.Dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && (c.replica != log.Replica() || c.seq > log.LastSeq()):
		err = errors.New("it belongs to another event log, or to a newer copy of this one")
	}
	if err != nil {
		f.opt.Log.Warn("cannot use the file of the trends; the event log is counted again",
			"error", err)
		return nil
	}
	f.saved = c.seq
	return c
}

// sameAs reports whether two counts count the same fields and sources.
func (c *Counts) sameAs(other *Counts) bool {
	return c.countsLess(other) && other.countsLess(c)
}

// countsLess reports whether other counts all fields and sources of c.
func (c *Counts) countsLess(other *Counts) bool {
	for _, name := range c.Fields() {
		if !slices.Contains(other.Fields(), name) {
			return false
		}
	}
	for _, name := range c.sources {
		if !slices.Contains(other.sources, name) {
			return false
		}
	}
	return true
}

// catchUp counts the records from one to another of the log.
func (f *Follower) catchUp(ctx context.Context, from, to uint64) error {
	var batch []event.Record
	apply := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range batch {
			f.counts.Apply(&batch[i])
		}
		batch = batch[:0]
	}
	for rec, err := range eventlog.Read(ingest.LogDir(f.opt.Dir), from) {
		if d := (*eventlog.Damage)(nil); errors.As(err, &d) {
			continue // the store has reported it
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("reading the event log for the trends: %w", err)
		}
		if rec.Seq > to {
			break
		}
		if batch = append(batch, rec); len(batch) == applyBatch {
			apply()
		}
	}
	apply()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.seq = max(f.counts.seq, to) // the last records may be erased or damaged
	return nil
}

// save writes the file if there are new counts.
func (f *Follower) save() error {
	f.mu.RLock()
	if f.counts == nil || f.counts.seq == f.saved {
		f.mu.RUnlock()
		return nil
	}
	data, seq := f.counts.encode(), f.counts.seq
	f.mu.RUnlock() // nobody waits for the disk
	if err := durable.WriteFile(f.opt.FS, Path(f.opt.Dir), data); err != nil {
		return fmt.Errorf("writing the trends: %w", err)
	}
	f.saved = seq
	return nil
}

// Read calls read with the present counts, which it must not keep or change. behind is how many
// records of the log they lack. Without counted fields they are empty.
func (f *Follower) Read(read func(c *Counts, behind uint64)) {
	f.mu.Lock()
	f.drain()
	f.mu.Unlock()
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.counts == nil {
		read(New(nil, f.opt.Actions), 0)
		return
	}
	behind := uint64(0)
	if last := f.lastSeq(); last > f.counts.seq {
		behind = last - f.counts.seq
	}
	read(f.counts, behind)
}

// Counted returns the names of the counted fields and sources.
func (f *Follower) Counted() (fields, sources []string) {
	f.Read(func(c *Counts, _ uint64) { fields, sources = c.Fields(), c.Sources() })
	return fields, sources
}

// Query answers a query. Its errors are *QueryError.
func (f *Follower) Query(q Query) (s *Series, err error) {
	f.Read(func(c *Counts, behind uint64) {
		if s, err = c.Query(q); err == nil {
			s.Behind = behind
		}
	})
	return s, err
}
