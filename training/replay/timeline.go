package replay

import (
	"context"
	"errors"
	"iter"

	"relish/features/event"
	"relish/features/eventsort"
	"relish/ranker"
)

// EachRecord calls yield for each record of one or several logs, in the order of the log, with its
// number in that order. It stops when yield returns false.
type EachRecord func(yield func(rec *event.Record, number uint64) bool) error

// Timeline yields the records of logs in the order in which they happened (event.OrderOf): live
// records as they arrived, imported ones at their event times. So the files of an import may come
// in any order, and at any time.
//
// Numbers are positions in that order, from 1. In a log that already is in that order, a record
// keeps its number of the log.
type Timeline struct {
	log EachRecord
	// imported holds the imported records in order. It is nil if the log is in order.
	imported *eventsort.Sorter
	first    uint64          // number of the log's first record
	arrival  int64           // of the newest imported record, Unix ms
	marks    map[uint64]mark // by number
}

// mark remembers which record has a number. Erasing a user rewrites a log without the user's
// records, which shifts all later numbers; a mark that differs reveals it.
type mark struct {
	replica string
	seq     uint64
}

// markInterval is the number of records between two marks.
const markInterval = 1 << 12

// ErrLogRewritten says that a log changed between two passes.
var ErrLogRewritten = errors.New(
	"a log was rewritten meanwhile because a user was erased: start again",
)

// NewTimeline reads the log once if it is in order, and else twice: it sorts the imported records
// into temporary files in dir. Each pass over the log must yield the same records. The caller
// closes the timeline.
func NewTimeline(ctx context.Context, log EachRecord, dir string) (*Timeline, error) {
	t := &Timeline{log: log, marks: map[uint64]mark{}}
	inOrder, last := true, event.Order{}
	err := log(func(rec *event.Record, number uint64) bool {
		at := event.OrderOf(rec)
		if t.first == 0 {
			t.first = number
		}
		inOrder, last = at.Compare(last) > 0, at
		return inOrder && (number%cancelInterval != 0 || ctx.Err() == nil)
	})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	if inOrder {
		return t, nil
	}
	t.imported = eventsort.New(dir)
	if err := errors.Join(t.sort(ctx), ctx.Err()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// sort sorts the imported records.
func (t *Timeline) sort(ctx context.Context) error {
	var failed error
	deleted := map[string]int64{} // item -> arrival of the event that deleted it
	err := t.log(func(rec *event.Record, number uint64) bool {
		e := &rec.Event
		switch {
		case e.Kind == ranker.EventDelete:
			deleted[e.ItemID] = rec.Arrival
		case !e.Imported:
		default:
			t.arrival = max(t.arrival, rec.Arrival)
			if at, was := deleted[e.ItemID]; was && e.Kind == ranker.EventItem {
				e.Time = max(e.Time, at+1) // it is back since then
			}
			failed = t.imported.Add(rec)
		}
		return failed == nil && (number%cancelInterval != 0 || ctx.Err() == nil)
	})
	return errors.Join(err, failed)
}

// Close removes the temporary files.
func (t *Timeline) Close() error {
	if t.imported == nil {
		return nil
	}
	return t.imported.Close()
}

// Each calls yield for each record with its number. rec keeps the sequence of its own log. It
// stops when yield returns false.
func (t *Timeline) Each(yield func(rec *event.Record, number uint64) bool) error {
	stopped := false
	var failed error
	numbered := func(rec *event.Record, number uint64) bool {
		if failed = t.checkMark(rec, number); failed == nil {
			stopped = !yield(rec, number)
		}
		return failed == nil && !stopped
	}
	if t.imported == nil {
		return errors.Join(t.log(numbered), failed)
	}
	number := uint64(0)
	emit := func(rec *event.Record) bool {
		number++
		return numbered(rec, number)
	}
	next, stop := iter.Pull2(t.imported.Records())
	defer stop()
	imported, err, more := next()
	// emitBefore emits the imported records before a place, all of them for nil.
	emitBefore := func(at *event.Order) bool {
		for ; more; imported, err, more = next() {
			if err != nil {
				failed = err
				return false
			}
			if at != nil && event.OrderOf(&imported).Compare(*at) > 0 {
				return true
			}
			if !emit(t.sameArrival(&imported)) {
				return false
			}
		}
		return true
	}
	if err := t.log(func(rec *event.Record, _ uint64) bool {
		if rec.Event.Imported {
			return true
		}
		at := event.OrderOf(rec)
		return emitBefore(&at) && emit(rec)
	}); err != nil {
		return err
	}
	if failed == nil && !stopped {
		emitBefore(nil)
	}
	return failed
}

// sameArrival returns an imported record as if all history had arrived at once. The state keeps
// what arrived last if it has to drop something, and that must not depend on what was imported
// first.
func (t *Timeline) sameArrival(rec *event.Record) *event.Record {
	later := *rec
	later.Arrival = t.arrival
	if event.OrderOf(&later).Time != event.OrderOf(rec).Time {
		return rec // without a time of its own, it happened when it arrived
	}
	return &later
}

// InLogOrder reports whether the order of the log is the order in which things happened.
func (t *Timeline) InLogOrder() bool { return t.imported == nil }

// Base returns the base of the log for a replay of the timeline. If imported history is not in the
// order of the log, no moment of the timeline is that of a base within the log. A replay then
// begins with the base before the log.
func (t *Timeline) Base(b *Base) *Base {
	if b == nil || t.imported == nil {
		return b
	}
	before := b.At(t.first - 1)
	if before == nil {
		return nil
	}
	return &Base{Load: before.Load}
}

// checkMark compares a record with the mark of its number, which the first pass sets.
func (t *Timeline) checkMark(rec *event.Record, number uint64) error {
	if number%markInterval != 0 {
		return nil
	}
	now := mark{rec.Replica, rec.Seq}
	if before, marked := t.marks[number]; marked && before != now {
		return ErrLogRewritten
	}
	t.marks[number] = now
	return nil
}

// Records is a Source: it yields the records with their numbers as sequences.
func (t *Timeline) Records() iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		err := t.Each(func(rec *event.Record, number uint64) bool {
			numbered := *rec
			numbered.Seq = number
			return yield(numbered, nil)
		})
		if err != nil {
			yield(event.Record{}, err)
		}
	}
}

var _ Source = (*Timeline)(nil).Records
