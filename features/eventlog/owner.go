package eventlog

import (
	"errors"
	"fmt"
	"syscall"

	"relish/features/event"
	"relish/ranker"
)

// run is the owner goroutine. It ends when the log is closed and the queue is empty.
func (l *Log) run() {
	defer close(l.done)
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed {
			l.wake.Wait()
		}
		batch := l.queue
		l.queue = nil
		closed := l.closed
		l.mu.Unlock()
		if len(batch) == 0 && closed {
			return
		}
		l.commit(batch)
	}
}

// maxKeptBuffer is the largest write buffer, in bytes, that is kept for the next batch.
const maxKeptBuffer = 8 << 20

// commit admits one batch, writes it, passes it to Options.Commit and releases the callers.
func (l *Log) commit(batch []*request) {
	now := l.now()
	seal := false
	var records []event.Record
	if l.buf = l.buf[:0]; cap(l.buf) > maxKeptBuffer {
		l.buf = nil
	}
	for _, r := range batch {
		seal = seal || r.seal
		for i := range r.events {
			seq := l.next.Load() + uint64(len(records))
			if rec, ok := l.admit(&r.events[i], &r.outcomes[i], now, seq); ok {
				records = append(records, rec)
			}
		}
	}
	err := l.write(records)
	if err == nil && seal {
		err = errors.Join(l.sealSegment(), l.forgetSize())
	}
	done := int64(0)
	for _, r := range batch {
		done += r.bytes
	}
	l.mu.Lock()
	l.queued -= done
	l.mu.Unlock()
	for _, r := range batch {
		r.err, r.upTo = err, l.LastSeq()
		if n := r.lost(); n > 0 && r.onLost != nil {
			r.onLost(n)
		}
		close(r.done)
	}
}

// now returns the arrival of a record that is written now, and tells when the clock stepped ahead.
func (l *Log) now() int64 {
	now := l.clock.now()
	before := l.ahead.Swap(int64(l.clock.ahead))
	if l.opt.OnClock != nil && (before == 0) != (l.clock.ahead == 0) {
		l.opt.OnClock(l.clock.ahead)
	}
	return now
}

// admit decides on one event and appends its frame to the buffer.
func (l *Log) admit(
	e *ranker.Event, out *ranker.EventOutcome, now int64, seq uint64,
) (event.Record, bool) {
	rec := event.Record{}
	if l.opt.Admit != nil {
		if *out = l.opt.Admit(e, now); out.Duplicate || out.Err != nil {
			return rec, false
		}
	}
	if e.Time == 0 && !e.Imported {
		e.Time = now
	}
	rec = event.Record{Seq: seq, Arrival: now, Replica: l.replicaID, Event: *e}
	at := len(l.buf)
	buf, err := event.AppendLog(openFrame(l.buf, seq, now), l.encrypted(e))
	switch {
	case err != nil:
		out.Err = &ranker.EventError{Code: "malformed", Message: "cannot be encoded for the log"}
	case len(buf)-at-frameSize > maxPayload:
		out.Err = &ranker.EventError{
			Code:    "too_large",
			Message: fmt.Sprintf("must have at most %d bytes", maxPayload),
		}
	default:
		closeFrame(buf[at:], at == 0)
		l.buf = buf
		return rec, true
	}
	l.abort([]event.Record{rec})
	return rec, false
}

// write makes the buffered frames durable and passes the records to Options.Commit.
func (l *Log) write(records []event.Record) error {
	if len(records) == 0 {
		return nil
	}
	next := records[len(records)-1].Seq + 1
	if err := l.checkLimit(); err != nil {
		l.abort(records)
		return err
	}
	if err := l.writeDurably(next); err != nil {
		l.failures.Add(1)
		l.abandonSegment()
		l.abort(records)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			l.full.Store(true)
			return fmt.Errorf("%w: the disk is full", ranker.ErrLogFull)
		}
		return fmt.Errorf("%w: %w", ranker.ErrLogUnavailable, err)
	}
	l.arrival = records[len(records)-1].Arrival
	l.next.Store(next)
	if l.opt.Commit != nil {
		l.opt.Commit(records)
	}
	return nil
}

func (l *Log) abort(records []event.Record) {
	if l.opt.Abort != nil {
		l.opt.Abort(records)
	}
}

// writeDurably writes the buffer, whose records end before next, to the active segment and calls
// fsync.
func (l *Log) writeDurably(next uint64) error {
	n := int64(len(l.buf))
	if err := l.opt.Owned(); err != nil {
		return err
	}
	if l.active != nil && l.activeBytes >= l.opt.SegmentBytes {
		if err := l.sealSegment(); err != nil {
			return err
		}
	}
	if l.active == nil {
		if err := l.openSegment(); err != nil {
			return err
		}
	}
	if err := l.reserve(next); err != nil {
		return err
	}
	if _, err := l.active.Write(l.buf); err != nil {
		return err
	}
	if err := l.active.Sync(); err != nil {
		return err
	}
	if err := l.checkLinked(); err != nil {
		return err
	}
	l.syncs.Add(1)
	l.activeBytes += n
	l.total.Add(n)
	return nil
}
