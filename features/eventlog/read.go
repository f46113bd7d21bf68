package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"relish/features/event"
)

// Damage is a place where the log differs from what was written: a flipped bit, a lost segment.
// Read yields it as an error and continues after it, so that the caller decides: serving reports
// damage, training fails.
type Damage struct {
	File   string // name of the segment
	Offset int64  // in bytes
	Reason string
}

// Error implements error.
func (d *Damage) Error() string {
	return fmt.Sprintf(
		"the event log is damaged: %s at byte %d: %s; restore this file from a backup", d.File,
		d.Offset, d.Reason,
	)
}

// Read yields the records of the log in dir from the sequence from on, in order. It skips erased
// records. It may run while another process appends, and ends after the last complete record: an
// incomplete batch of records at the end is not damage. It continues after an error that is a
// *Damage, and ends after any other error.
func Read(dir string, from uint64) iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		stopped := false
		err := scan(dir, from, func(s *scanner, f frame) bool {
			if len(f.payload) == 0 || f.seq < from {
				return true
			}
			rec, err := s.record(f)
			d := new(Damage)
			stopped = !yield(rec, err) || err != nil && !errors.As(err, &d)
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

// IncompleteTail returns the number of bytes after the last complete record of the log in dir. Read
// leaves them out. They are what a crash cut off, or what another process is writing right now.
func IncompleteTail(dir string) (bytes int, err error) {
	segs, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(segs) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	newest := segs[len(segs)-1]
	data, err := os.ReadFile(newest.path)
	if err != nil {
		return 0, err
	}
	s := scanner{
		each:    func(*scanner, frame) bool { return true },
		damaged: func(*Damage) bool { return true },
	}
	if _, err := s.segment(newest, data, 0); err != nil {
		return 0, err
	}
	return len(data) - s.end, nil
}

// scan calls each for the intact frames from the sequence from on, and damaged for all damage. It
// may also call each for some frames before from. Both return whether to go on.
func scan(
	dir string,
	from uint64,
	each func(*scanner, frame) bool,
	damaged func(*Damage) bool,
) error {
	high, err := readHighWater(dir) // before the segments, which may grow
	if err != nil {
		return err
	}
	segs, err := segments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s := scanner{dir: dir, each: each, damaged: damaged}
	for i, seg := range segs {
		end := uint64(0) // the sequence at which the next segment begins, 0 for the newest segment
		if i+1 < len(segs) {
			end = segs[i+1].first
		}
		if end != 0 && end <= from {
			continue
		}
		data, err := os.ReadFile(seg.path)
		if errors.Is(err, fs.ErrNotExist) {
			s.next = 0 // retention has just dropped it and the segments before it
			continue
		}
		if err != nil {
			return err
		}
		if end == 0 {
			s.durable = high.durable(seg)
		}
		if more, err := s.segment(seg, data, end); err != nil || !more {
			return err
		}
	}
	if d := high.missing(segs); d != nil {
		damaged(d)
	}
	return nil
}

type scanner struct {
	dir     string          // of the log
	keys    *event.UserKeys // nil until an erase event needs them
	next    uint64          // the sequence expected next, 0 before the first record
	seg     segment
	end     int    // position in the segment after the last intact frame
	durable int    // bytes of the newest segment that are known to be durable
	replica string // of the last intact header
	version uint16 // of the last intact header
	stopped bool   // damaged returned false
	each    func(*scanner, frame) bool
	damaged func(*Damage) bool
}

// record decodes the payload of a frame. It fails with a *Damage, or if the key of an erasure is
// missing.
func (s *scanner) record(f frame) (event.Record, error) {
	rec := event.Record{Seq: f.seq, Arrival: f.arrival, Replica: s.replica}
	var err error
	if rec.Event, err = event.DecodeLog(f.payload); err != nil {
		return rec, &Damage{
			File:   s.seg.name(),
			Offset: int64(s.end),
			Reason: fmt.Sprintf("record %d cannot be decoded: %v", f.seq, err),
		}
	}
	return rec, s.decryptUser(&rec.Event)
}

// segment scans one segment up to the sequence end, or with end 0 up to its last complete frame.
// Frames from end on are leftovers of a failed append: they were never acknowledged, and the next
// segment uses their sequences again. more is false if the caller wants no more.
func (s *scanner) segment(seg segment, data []byte, end uint64) (more bool, err error) {
	s.seg, s.end = seg, headerSize
	if len(data) < headerSize && end == 0 && s.durable == 0 {
		s.end = len(data)
		return false, nil // the newest segment is being created
	}
	if err := s.header(data); err != nil {
		return false, err
	}
	if s.next != 0 && seg.first > s.next {
		s.report(0, fmt.Sprintf("records %d to %d are missing before it", s.next, seg.first-1))
	}
	s.next = seg.first
	for at := headerSize; !s.stopped && at < len(data) && (end == 0 || s.next < end); {
		f, size, ok := parseFrame(data[at:])
		if !ok || f.seq != s.next {
			skip, found := resync(data[at+1:], s.next)
			if !found || end == 0 && at >= s.durable && s.incompleteBatch(data[at+1+skip:]) {
				break
			}
			s.report(at, fmt.Sprintf("%d bytes are damaged", skip+1))
			at += skip + 1
			f, _, _ = parseFrame(data[at:])
			s.next = f.seq
			continue
		}
		if !s.each(s, f) {
			return false, nil
		}
		s.next++
		at += size
		s.end = at
	}
	if !s.stopped && end != 0 && s.next < end {
		s.report(len(data), fmt.Sprintf("records %d to %d are missing", s.next, end-1))
		s.next = end
	}
	if !s.stopped && end == 0 && s.end < s.durable {
		s.report(s.end, fmt.Sprintf("%d bytes are damaged or missing", s.durable-s.end))
	}
	return !s.stopped, nil
}

// header checks the segment's header. Every frame has its own checksum and sequence, so a damaged
// header is reported but loses no record.
func (s *scanner) header(data []byte) error {
	h, err := parseHeader(data)
	switch {
	case errors.Is(err, errHeader):
		s.report(0, err.Error())
	case err != nil:
		return fmt.Errorf("%s: %w", s.seg.path, err)
	case h.first != s.seg.first:
		s.report(
			0,
			fmt.Sprintf(
				"it begins at record %d by its name, and at %d by its header", s.seg.first, h.first,
			),
		)
	}
	if err == nil {
		s.replica, s.version = fmt.Sprintf("%x", h.replica), h.version
	}
	return nil
}

// incompleteBatch reports whether damage in the newest segment is the rest of a batch that no fsync
// completed. rest is what follows the damage; no batch begins there.
func (s *scanner) incompleteBatch(rest []byte) bool {
	if s.version < batchVersion {
		return false
	}
	for {
		skip, found := resync(rest, s.next)
		if !found {
			return true
		}
		f, size, _ := parseFrame(rest[skip:])
		if f.batch {
			return false
		}
		rest = rest[skip+size:]
	}
}

func (s *scanner) report(offset int, reason string) {
	if !s.stopped {
		s.stopped = !s.damaged(&Damage{File: s.seg.name(), Offset: int64(offset), Reason: reason})
	}
}

// resync finds the next intact frame after a damaged place. Random bytes pass the checksum with a
// probability of 2^-32 at each position, and their sequence must fit as well.
func resync(data []byte, next uint64) (at int, found bool) {
	const maxSkipped = 1 << 24 // records that one damaged place may hide
	for at = 0; at+frameSize <= len(data); at++ {
		// The sequence is checked first, because it is cheap. The checksum covers as many bytes as
		// the length field says, which may be many in random bytes.
		if seq := binary.LittleEndian.Uint64(data[at+8:]); seq < next || seq-next >= maxSkipped {
			continue
		}
		if _, _, ok := parseFrame(data[at:]); ok {
			return at, true
		}
	}
	return 0, false
}

// First returns the sequence at which the log in dir begins, 0 if it has no segment.
func First(dir string) (uint64, error) {
	segs, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(segs) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return segs[0].first, nil
}

// Replica returns the id of the log in dir, 16 hex digits, or "" if there is no log or no segment
// has an intact header. A damaged header loses no record, so that it need not stop the caller.
func Replica(dir string) (string, error) {
	segs, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(segs) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, s := range segs {
		h, err := s.header()
		if err == nil {
			return fmt.Sprintf("%x", h.replica), nil
		}
		if !errors.Is(err, errHeader) {
			return "", fmt.Errorf("%s: %w", s.path, err)
		}
	}
	return "", nil
}
