package vectortable

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"

	"relish/internal/durable"
)

// rowRef is the place of one key's row.
type rowRef struct {
	key uint64
	row int32
}

// Keys returns the text keys that have a vector, in no order.
func (t *Table) Keys() []uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Keys(t.index))
}

// Compact rewrites the file without the rows for whose key live returns false, and returns the
// number of these rows. Reads and appends continue meanwhile. A crash leaves either the old file
// or the new one. live is called once for each key, from another goroutine.
func (t *Table) Compact(live func(key uint64) bool) (dropped int, err error) {
	err = t.onWriter(func() error {
		if err := t.flush(); err != nil {
			return err
		}
		kept := t.liveRows(live)
		if dropped = t.written - len(kept); dropped == 0 {
			return nil
		}
		return t.rewrite(kept)
	})
	if err != nil {
		return 0, fmt.Errorf("compact vector table: %w", err)
	}
	return dropped, nil
}

// liveRows lists the written rows that stay, in the order of the file.
func (t *Table) liveRows(live func(key uint64) bool) []rowRef {
	t.mu.RLock()
	all := make([]rowRef, 0, len(t.index))
	for key, row := range t.index {
		if int(row) < t.written {
			all = append(all, rowRef{key, row})
		}
	}
	t.mu.RUnlock()
	all = slices.DeleteFunc(all, func(p rowRef) bool { return !live(p.key) })
	slices.SortFunc(all, func(a, b rowRef) int { return cmp.Compare(a.row, b.row) })
	return all
}

// rewrite writes the kept rows to a new, locked file and replaces the old one by it.
func (t *Table) rewrite(kept []rowRef) error {
	tmp := t.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	data, err := t.writeRows(f, kept)
	if err == nil {
		err = os.Rename(tmp, t.path)
	}
	if err != nil {
		if data != nil {
			_ = unix.Munmap(data)
		}
		return errors.Join(err, f.Close(), os.Remove(tmp))
	}
	index := make(map[uint64]int32, len(kept))
	for i, p := range kept {
		index[p.key] = int32(i)
	}
	t.mu.Lock()
	_ = t.file.Close()
	t.file, t.index, t.written = f, index, len(kept)
	t.replaceMap(data)
	t.reindexPending()
	t.mu.Unlock()
	return durable.Disk.SyncDir(filepath.Dir(t.path))
}

// writeRows writes the header and the kept rows to f, makes them durable, and maps them.
func (t *Table) writeRows(f *os.File, kept []rowRef) (data []byte, err error) {
	defer catchFault(debug.SetPanicOnFault(true), func() { err = errUnreadable })
	if err := lock(f); err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.Write(t.encodeHeader()); err != nil {
		return nil, err
	}
	for _, p := range kept {
		if _, err := w.Write(t.rowBytes(int(p.row))); err != nil {
			return nil, err
		}
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return mapFile(f, t.fileSize(len(kept)))
}
