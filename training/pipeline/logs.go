package pipeline

import (
	"context"
	"errors"
	"iter"

	"relish/features/event"
	"relish/features/ingest"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/replay"
)

// source reads the logs of all replicas. An event that several logs have counts once.
//
// Records and inOrder yield the records in the order in which they happened. inLogOrder yields
// them as a server received them: merged by arrival, replica and sequence. Several logs are
// numbered as one; a single log keeps its sequences as numbers.
//
// open fixes where the logs end, so that each pass sees the same records while servers keep
// writing.
type source struct {
	dirs  []string
	ids   int               // event ids remembered to count an event of several logs once
	until int64             // event.Order.Time, Unix ms; 0 = no limit
	last  map[string]uint64 // by replica: the last sequence that is read; nil before open
	// conflicts is the number of events left out because another event of another log has their id.
	conflicts int
	timeline  *replay.Timeline
}

// open fixes where the logs end, and puts their records in order. dir takes temporary files.
func (s *source) open(ctx context.Context, dir string) error {
	var all logRanges
	err := s.inLogOrder(func(rec *event.Record, number uint64) bool {
		all.extend(rec)
		return number%cancelInterval != 0 || ctx.Err() == nil
	})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	s.bound(all)
	s.timeline, err = replay.NewTimeline(ctx, s.inLogOrder, dir)
	return err
}

// close removes temporary files.
func (s *source) close() error {
	if s.timeline == nil {
		return nil
	}
	return s.timeline.Close()
}

// cancelInterval is the number of records between two checks of the context.
const cancelInterval = 1 << 12

// inLogOrder calls yield for each record with its number in the order of the logs. rec keeps the
// sequence of its own log.
func (s *source) inLogOrder(yield func(rec *event.Record, number uint64) bool) error {
	number := uint64(0)
	onConflicts := func(n int) { s.conflicts = n }
	for rec, err := range ingest.ReadLogs(s.ids, onConflicts, s.dirs...) {
		if err != nil {
			return err
		}
		if s.until > 0 && event.OrderOf(&rec).Time >= s.until ||
			s.last != nil && rec.Seq > s.last[rec.Replica] {
			continue
		}
		if number++; len(s.dirs) == 1 {
			number = rec.Seq
		}
		if !yield(&rec, number) {
			return nil
		}
	}
	return nil
}

// inOrder calls yield for each record with its number in the order in which they happened. rec
// keeps the sequence of its own log.
func (s *source) inOrder(yield func(rec *event.Record, number uint64) bool) error {
	return s.timeline.Each(yield)
}

// Records returns the records as package replay reads them: in the order in which they happened,
// with their number as sequence.
func (s *source) Records() iter.Seq2[event.Record, error] { return s.timeline.Records() }

// bound ends the source at the ends of the ranges.
func (s *source) bound(ranges []bundle.LogRange) {
	s.last = map[string]uint64{}
	for _, r := range ranges {
		s.last[r.Replica] = r.Last.Seq
	}
}

// learned returns which part of each log lies before a number, and its events by kind.
func (s *source) learned(
	before uint64,
) (out bundle.TrainingData, counts map[ranker.EventKind]int64, err error) {
	counts = map[ranker.EventKind]int64{}
	var all logRanges
	err = s.inOrder(func(rec *event.Record, number uint64) bool {
		if number < before {
			all.extend(rec)
			counts[rec.Event.Kind]++
			return true
		}
		at := bundle.HeldOutFrom(event.OrderOf(rec))
		out.HeldOutFrom = &at
		return false
	})
	out.Logs = all
	return out, counts, err
}

// logRanges are parts of logs, one for each replica, in the order of their first records.
type logRanges []bundle.LogRange

// extend extends the range of the record's replica to the record.
func (l *logRanges) extend(rec *event.Record) {
	at := bundle.LogPosition{Seq: rec.Seq, Arrival: rec.Arrival}
	for i := range *l {
		r := &(*l)[i]
		if r.Replica != rec.Replica {
			continue
		}
		if at.Seq < r.First.Seq {
			r.First = at
		}
		if at.Seq > r.Last.Seq {
			r.Last = at
		}
		return
	}
	*l = append(*l, bundle.LogRange{Replica: rec.Replica, First: at, Last: at})
}
