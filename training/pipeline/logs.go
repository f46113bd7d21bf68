package pipeline

import (
	"errors"
	"iter"

	"relish/features/event"
	"relish/features/ingest"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/replay"
)

// source merges the logs of all replicas by arrival, replica and sequence. An event that several
// logs have counts once. Several logs are numbered as one; a single log keeps its sequences as
// numbers.
//
// bound fixes where the logs end, so that each pass sees the same records while servers keep
// writing.
type source struct {
	dirs  []string
	ids   int               // event ids remembered to count an event of several logs once
	until int64             // arrival, Unix ms; 0 = no limit
	last  map[string]uint64 // by replica: the last sequence that is read; nil before bound
	marks []mark
}

// mark remembers which record has a number. Erasing a user rewrites a log without the user's
// records, which shifts all later numbers; a mark that differs reveals it.
type mark struct {
	replica string
	seq     uint64
}

// markInterval is the number of records between two marks.
const markInterval = 1 << 12

// errLogRewritten says that the logs changed between two passes.
var errLogRewritten = errors.New(
	"a log was rewritten during the training because a user was erased: " +
		"start the training again",
)

// each calls yield for each record with its number. rec keeps the sequence of its own log.
func (s *source) each(yield func(rec *event.Record, number uint64) bool) error {
	number := uint64(0)
	for rec, err := range ingest.ReadLogs(s.ids, s.dirs...) {
		if err != nil {
			return err
		}
		if s.until > 0 && rec.Arrival >= s.until || s.last != nil && rec.Seq > s.last[rec.Replica] {
			continue
		}
		if number++; len(s.dirs) == 1 {
			number = rec.Seq
		} else if err := s.checkMark(&rec, number); err != nil {
			return err
		}
		if !yield(&rec, number) {
			return nil
		}
	}
	return nil
}

// checkMark compares a record with the mark of its number, which the first pass sets.
func (s *source) checkMark(rec *event.Record, number uint64) error {
	if number%markInterval != 0 {
		return nil
	}
	at, now := int(number/markInterval)-1, mark{rec.Replica, rec.Seq}
	if at == len(s.marks) {
		s.marks = append(s.marks, now)
	}
	if s.marks[at] != now {
		return errLogRewritten
	}
	return nil
}

// Records returns the records as package replay reads them: with their number as sequence.
func (s *source) Records() iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		err := s.each(func(rec *event.Record, number uint64) bool {
			numbered := *rec
			numbered.Seq = number
			return yield(numbered, nil)
		})
		if err != nil {
			yield(event.Record{}, err)
		}
	}
}

var _ replay.Source = (*source)(nil).Records

// bound ends the source at the ends of the ranges.
func (s *source) bound(ranges []bundle.LogRange) {
	s.last = map[string]uint64{}
	for _, r := range ranges {
		s.last[r.Replica] = r.Last.Seq
	}
}

// ranges returns which part of each log lies before a number, and its events by kind.
func (s *source) ranges(
	before uint64,
) (out logRanges, counts map[ranker.EventKind]int64, err error) {
	counts = map[ranker.EventKind]int64{}
	err = s.each(func(rec *event.Record, number uint64) bool {
		if number < before {
			out.extend(rec)
			counts[rec.Event.Kind]++
		}
		return number < before
	})
	return out, counts, err
}

// logRanges are parts of logs, one for each replica, in the order of their first records.
type logRanges []bundle.LogRange

// extend extends the range of the record's replica up to the record.
func (l *logRanges) extend(rec *event.Record) {
	at := bundle.LogPosition{Seq: rec.Seq, Arrival: rec.Arrival}
	for i := range *l {
		if r := &(*l)[i]; r.Replica == rec.Replica {
			r.Last = at
			return
		}
	}
	*l = append(*l, bundle.LogRange{Replica: rec.Replica, First: at, Last: at})
}

// contains reports whether a record lies in one of the ranges or before it.
func (l logRanges) contains(rec *event.Record) bool {
	for i := range l {
		if r := &l[i]; r.Replica == rec.Replica {
			return rec.Seq <= r.Last.Seq
		}
	}
	return false
}
