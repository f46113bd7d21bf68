// Package eventsort sorts any number of records by the time at which they happened, in bounded
// memory.
//
// A Sorter gathers records up to its bound, sorts them, and writes them to a temporary file.
// Reading merges the files. Import sorts its files this way before it appends them to the log, and
// training the imported records of a log.
package eventsort

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	"relish/features/event"
)

const (
	// DefaultMemory is the default of Sorter.Memory.
	DefaultMemory = 64 << 20
	// maxRuns is the number of files that are merged at once. With more of them, the existing ones
	// are merged into one first.
	maxRuns = 64
	// entryOverhead is the memory of one record beside its bytes.
	entryOverhead = 96
)

// Sorter sorts records by event.OrderOf. Add all records, call Records any number of times, and
// then Close. It is not safe for concurrent use.
type Sorter struct {
	// Memory is about the number of bytes that are sorted in memory; 0 = DefaultMemory. Change it
	// before the first Add.
	Memory int

	dir     string
	entries []entry // not yet in a file
	bytes   int     // of entries
	runs    []*run
	n       int
}

// entry is one record with its place.
type entry struct {
	order  event.Order
	packed []byte // the record, see pack
}

// ErrEncoding says that Add did not add a record because it cannot be encoded for the log.
var ErrEncoding = errors.New("cannot be encoded for the log")

// New returns a Sorter whose files are in dir. It creates the folder with the first file.
func New(dir string) *Sorter { return &Sorter{dir: dir} }

// Len returns the number of records added.
func (s *Sorter) Len() int { return s.n }

// Add adds a record. It fails with ErrEncoding, or because of the disk.
func (s *Sorter) Add(rec *event.Record) error {
	order := event.OrderOf(rec)
	packed, err := pack(&order, rec)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	s.n++
	s.entries = append(s.entries, entry{order, packed})
	if s.bytes += len(packed) + entryOverhead; s.bytes < cmp.Or(s.Memory, DefaultMemory) {
		return nil
	}
	return s.spill()
}

// spill writes the records in memory to a file.
func (s *Sorter) spill() error {
	s.sortEntries()
	if len(s.runs) == maxRuns {
		merged, err := writeRun(s.dir, s.merged(nil))
		if err != nil {
			return fmt.Errorf("sort: %w", err)
		}
		if err := s.closeRuns(); err != nil {
			return err
		}
		s.runs = []*run{merged}
	}
	r, err := writeRun(s.dir, all(s.entries))
	if err != nil {
		return fmt.Errorf("sort: %w", err)
	}
	s.runs = append(s.runs, r)
	s.entries, s.bytes = nil, 0
	return nil
}

func (s *Sorter) sortEntries() {
	slices.SortFunc(s.entries, func(a, b entry) int { return a.order.Compare(b.order) })
}

// all yields the entries in order.
func all(entries []entry) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Records yields the records in order. An error is the last thing that it yields.
func (s *Sorter) Records() iter.Seq2[event.Record, error] {
	s.sortEntries()
	return func(yield func(event.Record, error) bool) {
		for e, err := range s.merged(s.entries) {
			rec := event.Record{}
			if err == nil {
				rec, err = unpack(e.packed)
			}
			if err != nil {
				yield(event.Record{}, fmt.Errorf("sort: %w", err))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// merged merges the files and further entries, which are sorted.
func (s *Sorter) merged(entries []entry) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		var m merger
		defer m.stop()
		for _, r := range s.runs {
			m.add(r.entries())
		}
		m.add(all(entries))
		m.each(yield)
	}
}

func (s *Sorter) closeRuns() error {
	var errs []error
	for _, r := range s.runs {
		errs = append(errs, r.remove())
	}
	s.runs = nil
	return errors.Join(errs...)
}

// Close removes the files.
func (s *Sorter) Close() error {
	s.entries = nil
	return s.closeRuns()
}

// RemoveLeftovers removes the files that an interrupted process left in dir.
func RemoveLeftovers(dir string) error {
	left, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range left {
		if isRun(e.Name()) {
			err = errors.Join(err, os.Remove(runPath(dir, e.Name())))
		}
	}
	return err
}
