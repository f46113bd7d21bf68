package pipeline

import (
	"fmt"
	"iter"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/ranker/bundle"
	"relish/training/replay"
)

// source is the logs of all replicas as one: by arrival, replica and sequence, numbered anew where there are several.
// After bound it ends where the logs ended then, so that every walk sees the same records while servers write on.
type source struct {
	dirs  []string
	until int64 // arrival, 0 = no bound
	// last is by replica the last record that takes part, nil before bound.
	last  map[string]uint64
	marks []mark
}

// mark is which record has a number. When users are forgotten their records are rewritten out of a log, and the
// numbers behind them move.
type mark struct {
	replica string
	seq     uint64
}

// markEvery is how many records lie between two marks.
const markEvery = 1 << 12

// each walks the records with their numbers; rec keeps its log's own sequence.
func (s *source) each(yield func(rec *event.Record, number uint64) bool) error {
	records := eventlog.Merge(s.dirs...)
	if len(s.dirs) == 1 {
		records = eventlog.Read(s.dirs[0], 1)
	}
	number := uint64(0)
	for rec, err := range records {
		if err != nil {
			return err
		}
		if s.until > 0 && rec.Arrival >= s.until || s.last != nil && rec.Seq > s.last[rec.Replica] {
			continue
		}
		if number++; len(s.dirs) == 1 {
			number = rec.Seq
		} else if err := s.check(&rec, number); err != nil {
			return err
		}
		if !yield(&rec, number) {
			return nil
		}
	}
	return nil
}

func (s *source) check(rec *event.Record, number uint64) error {
	if number%markEvery != 0 {
		return nil
	}
	at, now := int(number/markEvery)-1, mark{rec.Replica, rec.Seq}
	if at == len(s.marks) {
		s.marks = append(s.marks, now)
	}
	if s.marks[at] != now {
		return fmt.Errorf("a log was rewritten meanwhile, since a user was forgotten: train again")
	}
	return nil
}

// Records is the source as replay walks it.
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

// bound ends the source at the ranges' ends.
func (s *source) bound(ranges []bundle.LogRange) {
	s.last = map[string]uint64{}
	for _, r := range ranges {
		s.last[r.Replica] = r.Last.Seq
	}
}

// ranges returns which part of each log lies before a number, and how many events of each kind are in it.
func (s *source) ranges(before uint64) (out rangeList, counts map[event.EventKind]int64, err error) {
	counts = map[event.EventKind]int64{}
	err = s.each(func(rec *event.Record, number uint64) bool {
		if number < before {
			out.add(rec)
			counts[rec.Event.Kind]++
		}
		return number < before
	})
	return out, counts, err
}

// rangeList are parts of logs, in the order in which replicas were met.
type rangeList []bundle.LogRange

func (l *rangeList) add(rec *event.Record) {
	at := bundle.LogPosition{Seq: rec.Seq, Arrival: rec.Arrival}
	for i := range *l {
		if r := &(*l)[i]; r.Replica == rec.Replica {
			r.Last = at
			return
		}
	}
	*l = append(*l, bundle.LogRange{Replica: rec.Replica, First: at, Last: at})
}

// holds reports whether a record lies in one of the parts.
func (l rangeList) holds(rec *event.Record) bool {
	for i := range l {
		if r := &l[i]; r.Replica == rec.Replica {
			return rec.Seq <= r.Last.Seq
		}
	}
	return false
}
