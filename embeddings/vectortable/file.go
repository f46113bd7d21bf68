package vectortable

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// errUnreadable: the disk could not deliver a page of the map.
var errUnreadable = errors.New("a part of the vector table cannot be read from disk: " +
	"restore the file, or remove it to have its texts encoded again")

// minMap is the least address space of a map, so that a growing file is rarely mapped again.
const minMap = 16 << 20

// mapFile maps the first size bytes of f, and as much again for growth. A page beyond the file's
// end becomes readable when the file has grown so far.
func mapFile(f *os.File, size int64) ([]byte, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(max(2*size, minMap)), unix.PROT_READ,
		unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the file: %w", err)
	}
	return data, nil
}

// openLocked opens or creates path for writing and locks it against other writers. Another process
// may replace the file by compaction before it is locked, so openLocked checks that it is still
// the one at path.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		opened, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if current, err := os.Stat(path); err == nil && os.SameFile(opened, current) {
			return f, nil
		}
		_ = f.Close()
	}
}

func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// replaceMap makes data the map and unmaps the old one. Callers hold mu, so nobody reads the old
// map.
func (t *Table) replaceMap(data []byte) {
	if &data[0] != &t.data[0] {
		_ = unix.Munmap(t.data)
		t.data = data
	}
}

// release unmaps and closes the file.
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

// catchFault is deferred around reads of the map, with the result of debug.SetPanicOnFault. A page
// that the disk cannot deliver raises a fault; catchFault turns it into a call of onFault.
func catchFault(before bool, onFault func()) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		if _, fault := r.(interface{ Addr() uintptr }); !fault {
			panic(r)
		}
		onFault()
	}
}
