// Package vectortable stores text vectors in a file, so that a restart need not encode texts again.
//
// Each encoder has one append-only file, named by the encoder's digest, so a changed encoder never
// finds vectors of another one. A row holds a text's key and its vector in float16. That halves
// the file, and the cosine to the float32 vector is at least 0.9999.
//
// The file is read through a memory map. An index in memory leads from keys to rows. Open builds
// it in one pass and checks every row: a torn row at the end, left by a crash, is cut off, and a
// damaged row is a miss. One goroutine writes.
//
// Every vector can be computed again from its text. The table therefore rather loses a row than
// stops its user.
package vectortable

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"relish/internal/durable"
)

// Errors that a caller can act on.
var (
	// ErrClosed: the table is closed.
	ErrClosed = errors.New("vector table is closed")
	// ErrReadOnly: the table is open for reading only.
	ErrReadOnly = errors.New("vector table is open for reading only")
	// ErrLocked: another process writes to the table.
	ErrLocked = errors.New("vector table is in use by another process: " +
		"stop that process, or open the table for reading only")
)

// Options configure Open. The zero value opens for writing and logs to slog.Default.
type Options struct {
	// ReadOnly opens the table while another process may write to it. Only rows that were complete
	// at Open are found. A missing file is an empty table.
	ReadOnly bool
	Log      *slog.Logger // slog.Default if nil
}

// Stats describes an open table.
type Stats struct {
	Rows      int   // distinct keys that can be read
	Dead      int   // rows in the file that no key leads to: damaged or written twice
	Corrupt   int   // rows with a wrong checksum at Open, and reads that failed since
	TornBytes int   // bytes of an incomplete last row, found at Open
	Bytes     int64 // size of the file
	Lost      int   // rows that could not be written since Open
}

// Table is an open vector table. All methods are safe for concurrent use.
type Table struct {
	layout
	path string
	opt  Options

	mu         sync.RWMutex
	spaceFreed sync.Cond // signalled when the writer has taken pending
	file       *os.File  // nil for a missing file that is opened read-only
	data       []byte    // the map, which may extend beyond the end of the file
	index      map[uint64]int32
	// Rows are numbered in the order of Append. The first written rows are in data, the next ones
	// in writing, the last ones in pending.
	written          int
	writing, pending []byte
	stats            Stats
	closed           bool

	faults atomic.Int64 // reads of pages that the disk could not deliver

	writer // belongs to the writing goroutine
}

// Open opens or creates the table of an encoder in dir, which is created if absent. digest is a
// SHA-256 in hexadecimal, dim the number of components of a vector, 1 to 65,536. The caller must
// Close the table. The error wraps ErrLocked or ErrNewerFormat if that is the cause.
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
			return nil, fmt.Errorf("create the folder of the vector table: %w", err)
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

// create writes the header of a new file, or of one whose creation was interrupted.
func (t *Table) create() error {
	if t.opt.ReadOnly {
		return nil
	}
	start, err := io.ReadAll(io.NewSectionReader(t.file, 0, headerSize))
	if err != nil {
		return err
	}
	if header := t.encodeHeader(); string(start) != string(header[:len(start)]) {
		return errNoTable
	}
	if _, err := t.file.WriteAt(t.encodeHeader(), 0); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := durable.Disk.SyncDir(filepath.Dir(t.path)); err != nil {
		return err
	}
	t.data, err = mapFile(t.file, headerSize)
	return err
}

// scan builds the index. Of two rows with the same key, the later one counts.
func (t *Table) scan() (err error) {
	defer catchFault(debug.SetPanicOnFault(true), func() { err = errUnreadable })
	for r := range t.written {
		key, ok := rowKey(t.rowBytes(r))
		if !ok {
			t.stats.Corrupt++
			continue
		}
		t.index[key] = int32(r)
	}
	if t.stats.Corrupt > 0 {
		t.opt.Log.Warn("the vector table has damaged rows; their texts are encoded again",
			"rows", t.stats.Corrupt)
	}
	return nil
}

// fileSize returns the size of a file with n rows.
func (t *Table) fileSize(n int) int64 { return headerSize + int64(n)*int64(t.rowSize()) }

// rowBytes returns the bytes of row r. Callers hold mu, or are the writer.
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

// Has reports whether the table has a vector for the key.
func (t *Table) Has(key uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.index[key]
	return ok
}

// Read sets dst, of length dim, to the key's vector. If it returns false, dst is undefined.
func (t *Table) Read(key uint64, dst []float32) (ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.index[key]
	if !ok {
		return false
	}
	// A page that the disk cannot deliver must cost one vector, not the process.
	defer catchFault(debug.SetPanicOnFault(true), func() {
		t.faults.Add(1)
		ok = false
	})
	decodeFloat16s(dst, t.rowBytes(int(r))[keySize:])
	return true
}

// Stats returns the current figures.
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
