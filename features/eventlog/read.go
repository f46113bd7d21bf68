package eventlog

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"relish/features/event"
)

// Damage is a place where the log is not what was written: a flipped bit, a lost segment. Read
// yields it and goes on after it, so that the reader decides: serving reports it, training refuses.
type Damage struct {
	File   string // the segment's name
	Offset int64
	Reason string
}

// Error implements error.
func (d *Damage) Error() string {
	return fmt.Sprintf("event log damaged: %s at byte %d: %s; restore this segment from a backup", d.File, d.Offset, d.Reason)
}

// Read yields the records from sequence from on, in order. It may run beside a writer, and ends at
// the last whole record: a torn tail of the newest segment is no damage. Erased records are passed
// over. An error that is a *Damage does not end the sequence; any other does.
func Read(dir string, from uint64) iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		stopped := false
		err := scan(dir, from, func(replica string, f frame) bool {
			if len(f.payload) == 0 || f.seq < from {
				return true
			}
			e, err := event.DecodeLog(f.payload)
			if err != nil {
				err = &Damage{Reason: fmt.Sprintf("record %d cannot be read: %v", f.seq, err)}
			}
			stopped = !yield(event.Record{Seq: f.seq, Arrival: f.arrival, Replica: replica, Event: e}, err)
			return !stopped
		}, func(d *Damage) bool {
			stopped = !yield(event.Record{}, d)
			return !stopped
		})
		if err != nil && !stopped {
			yield(event.Record{}, err)
		}
	}
}

// scan walks all sound frames with a sequence from `from` on (and may give some before it), and all damage.
func scan(dir string, from uint64, each func(replica string, f frame) bool, damaged func(*Damage) bool) error {
	segs, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s := scanner{each: each, damaged: damaged}
	for i, seg := range segs {
		end := uint64(0) // the sequence at which the next segment takes over, 0 for the newest
		if i+1 < len(segs) {
			end = segs[i+1].first
		}
		if end != 0 && end <= from {
			continue
		}
		data, err := os.ReadFile(seg.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention dropped it just now
		}
		if err != nil {
			return err
		}
		if more, err := s.segment(seg, data, end); err != nil || !more {
			return err
		}
	}
	return nil
}

type scanner struct {
	next    uint64 // the sequence expected next, 0 before the first record
	each    func(string, frame) bool
	damaged func(*Damage) bool
}

// segment walks one segment up to the sequence end (0: to its last whole frame). Frames from end on
// are leftovers of an append that failed: they were never acknowledged, and the next segment has
// their sequences anew.
func (s *scanner) segment(seg segment, data []byte, end uint64) (more bool, err error) {
	h, err := parseHeader(data)
	if errors.Is(err, errHeader) {
		if end == 0 && len(data) < headerSize {
			return false, nil // the newest segment was just being made
		}
		return s.report(seg, 0, err.Error()), nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", seg.path, err)
	}
	if s.next != 0 && h.first > s.next {
		if !s.report(seg, 0, fmt.Sprintf("records %d to %d are missing before it", s.next, h.first-1)) {
			return false, nil
		}
	}
	s.next = h.first
	replica := fmt.Sprintf("%x", h.replica)
	for at := headerSize; at < len(data) && (end == 0 || s.next < end); {
		f, size, ok := parseFrame(data[at:])
		if !ok || f.seq != s.next {
			skip, found := resync(data[at+1:], s.next)
			if !found {
				break
			}
			if !s.report(seg, int64(at), fmt.Sprintf("%d bytes are damaged", skip+1)) {
				return false, nil
			}
			at += skip + 1
			s.next = 0
			if f, _, ok := parseFrame(data[at:]); ok {
				s.next = f.seq
			}
			continue
		}
		if !s.each(replica, f) {
			return false, nil
		}
		s.next++
		at += size
	}
	if end != 0 && s.next < end {
		if !s.report(seg, int64(len(data)), fmt.Sprintf("records %d to %d are missing", s.next, end-1)) {
			return false, nil
		}
		s.next = end
	}
	return true, nil
}

func (s *scanner) report(seg segment, offset int64, reason string) bool {
	return s.damaged(&Damage{File: filepath.Base(seg.path), Offset: offset, Reason: reason})
}

// resync finds the next sound frame that continues the sequence after a gap. That a random run of bytes
// passes is a matter of 2^-32 for each, and the sequence must fit as well.
func resync(data []byte, next uint64) (at int, found bool) {
	const reach = 1 << 24 // records that one damaged place may hide
	for at = range data {
		if f, _, ok := parseFrame(data[at:]); ok && f.seq >= next && f.seq < next+reach {
			return at, true
		}
	}
	return 0, false
}
