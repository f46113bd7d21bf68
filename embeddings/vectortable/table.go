// Package table keeps text vectors on disk, so that a restart encodes nothing again.
//
// There is one append-only file per encoder, named by the encoder's digest; a changed encoder
// therefore never meets old vectors. Rows are float16, which halves the file and costs no quality
// (cosine to the float32 vector at least 0.9999). The file is read through a memory map and found
// through an index from text key to row that Open builds in one pass, checking every row: what a
// crash left half written at the end is cut off, a damaged row is a miss. One goroutine writes.
// Everything in here can be computed again from the texts, so the table prefers losing a row to
// stopping its user.
package vectortable

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Errors that a caller can act on.
var (
	ErrClosed   = errors.New("vector table is closed")
	ErrReadOnly = errors.New("vector table is open for reading only")
	// ErrLocked: another process writes this table.
	ErrLocked = errors.New("vector table is in use by another process: stop it, or open the table for reading only")
)

// Options for Open; the zero value opens for writing and logs to slog.Default.
type Options struct {
	// ReadOnly reads beside a process that writes: the rows that are whole at Open, nothing later.
	// A missing file is an empty table.
	ReadOnly bool
	Log      *slog.Logger
}

// Stats are figures of an open table.
type Stats struct {
	Rows      int   // distinct keys that can be read
	Dead      int   // rows in the file that no key leads to: damaged or written twice
	Corrupt   int   // rows whose checksum did not hold at Open, and reads that failed since
	TornBytes int   // torn tail found at Open
	Bytes     int64 // file size
	Lost      int   // rows that could not be written since Open
}

// Table is an open vector table. All methods are safe for concurrent use.
type Table struct {
	layout
	path string
	opt  Options

	mu         sync.RWMutex
	spaceFreed sync.Cond // signalled when pending has been taken
	file       *os.File  // nil for an absent file opened read-only
	data       []byte    // the map; it may reach beyond the file's end
	index      map[uint64]int32
	// Row r is in the map if r < written, else in writing, else in pending.
	written          int
	writing, pending []byte
	stats            Stats
	closed           bool

	faults atomic.Int64 // reads that hit a page which the disk would not give

	writer // the writing goroutine's own
}

// Open opens or creates the table of the encoder with this digest (hex SHA-256) in dir, which is
// made if absent. The caller must Close it.
func Open(dir, digest string, dim int, opt Options) (*Table, error) {
	s, err := newLayout(digest, dim)
	if err != nil {
		return nil, err
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	t := &Table{layout: s, path: Path(dir, digest), opt: opt, index: map[uint64]int32{}}
	t.spaceFreed.L = &t.mu
	if !opt.ReadOnly {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make the folder of the vector table: %w", err)
		}
	}
	if err := t.open(); err != nil {
		t.release()
		return nil, fmt.Errorf("open vector table %s: %w", t.path, err)
	}
	if !opt.ReadOnly {
		t.startWriter()
	}
	return t, nil
}

func (t *Table) open() error {
	var err error
	if t.opt.ReadOnly {
		t.file, err = os.Open(t.path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
	} else {
		t.file, err = openLocked(t.path)
	}
	if err != nil {
		return err
	}
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < headerSize {
		return t.create()
	}
	head := make([]byte, headerSize)
	if _, err := t.file.ReadAt(head, 0); err != nil {
		return err
	}
	if err := t.checkHeader(head); err != nil {
		return err
	}
	t.written = int(info.Size()-headerSize) / t.rowSize()
	if t.data, err = mapFile(t.file, t.fileSize(t.written)); err != nil {
		return err
	}
	if err := t.scan(); err != nil {
		return err
	}
	t.stats.TornBytes = int(info.Size() - t.fileSize(t.written))
	if t.stats.TornBytes > 0 && !t.opt.ReadOnly {
		return t.file.Truncate(t.fileSize(t.written))
	}
	return nil
}

// create writes the header of a new file, or of one whose creation was cut short.
func (t *Table) create() error {
	if t.opt.ReadOnly {
		return nil
	}
	start, err := io.ReadAll(io.NewSectionReader(t.file, 0, headerSize))
	if err != nil {
		return err
	}
	if header := t.encodeHeader(); string(start) != string(header[:len(start)]) {
		return errors.New("not a vector table (wrong first bytes): move the file away")
	}
	if _, err := t.file.WriteAt(t.encodeHeader(), 0); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := syncDir(t.path); err != nil {
		return err
	}
	t.data, err = mapFile(t.file, headerSize)
	return err
}

// scan builds the index. Of two rows with one key the later counts.
func (t *Table) scan() (err error) {
	defer catchFault(debug.SetPanicOnFault(true), func() { err = errors.New("the disk does not give all of the file back: restore it or remove it") })
	for r := range t.written {
		key, ok := rowKey(t.rowBytes(r))
		if !ok {
			t.stats.Corrupt++
			continue
		}
		t.index[key] = int32(r)
	}
	if t.stats.Corrupt > 0 {
		t.opt.Log.Warn("vector table has damaged rows, their texts are encoded again", "rows", t.stats.Corrupt)
	}
	return nil
}

// fileSize is the file size with n rows.
func (t *Table) fileSize(n int) int64 { return headerSize + int64(n)*int64(t.rowSize()) }

// rowBytes returns row r's bytes, wherever they are. Callers hold mu or are the writer.
func (t *Table) rowBytes(r int) []byte {
	size := t.rowSize()
	if r < t.written {
		return t.data[t.fileSize(r) : t.fileSize(r)+int64(size)]
	}
	at := (r - t.written) * size
	if at < len(t.writing) {
		return t.writing[at : at+size]
	}
	at -= len(t.writing)
	return t.pending[at : at+size]
}

// Has reports whether the table has the key.
func (t *Table) Has(key uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.index[key]
	return ok
}

// Read fills dst (of length dim) with the key's vector, or returns false and leaves dst undefined.
func (t *Table) Read(key uint64, dst []float32) (ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.index[key]
	if !ok {
		return false
	}
	// A page that the disk refuses to give raises a fault, which must cost one vector, not the process.
	defer catchFault(debug.SetPanicOnFault(true), func() {
		t.faults.Add(1)
		ok = false
	})
	decodeFloat16s(dst, t.rowBytes(int(r))[keySize:])
	return true
}

// catchFault is deferred around reads of the map, with what SetPanicOnFault returned.
func catchFault(before bool, onFault func()) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		if _, fault := r.(interface{ Addr() uintptr }); !fault {
			panic(r)
		}
		onFault()
	}
}

// Stats returns current figures.
func (t *Table) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.stats
	s.Rows = len(t.index)
	s.Corrupt += int(t.faults.Load())
	s.Dead = t.written + (len(t.writing)+len(t.pending))/t.rowSize() - len(t.index)
	s.Bytes = t.fileSize(t.written)
	return s
}

// release gives back the map and the file.
func (t *Table) release() {
	if t.data != nil {
		_ = unix.Munmap(t.data)
	}
	if t.file != nil {
		_ = t.file.Close()
	}
	t.data, t.file, t.index = nil, nil, nil
	t.written, t.writing, t.pending = 0, nil, nil
}
