package vectortable

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"
)

type rowRef struct {
	key uint64
	row int32
}

// Compact rewrites the file with the rows whose key live keeps, and returns how many rows went.
// Reads and appends go on meanwhile; a crash leaves the old file or the new one. live is called
// once per key, from another goroutine than the caller's.
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

// liveRows lists the written rows that stay, in file order.
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

// rewrite puts the kept rows into a new file, locks it, and lets it take the old one's place.
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
	return syncDir(t.path)
}

// writeRows writes header and kept rows to f, makes them durable, and maps them.
func (t *Table) writeRows(f *os.File, kept []rowRef) (data []byte, err error) {
	defer catchFault(debug.SetPanicOnFault(true), func() { err = errors.New("the disk does not give all of the file back") })
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

// replaceMap makes data the map and gives the old one back. Callers hold mu, so no reader is inside.
func (t *Table) replaceMap(data []byte) {
	if &data[0] != &t.data[0] {
		_ = unix.Munmap(t.data)
		t.data = data
	}
}
