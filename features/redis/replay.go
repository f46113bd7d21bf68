package redis

import (
	"context"
	"errors"
	"iter"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/journal"
)

// again asks for the records from first to last once more.
func (o *owner) again(first, last uint64) {
	if last < first {
		return
	}
	if o.redo == 0 || first < o.redo {
		o.endReplay()
		o.redo = first
	}
	o.upTo = max(o.upTo, last)
	o.s.redo.Store(o.redo)
	o.s.setBehind(true)
}

func (o *owner) endReplay() {
	if o.stopLog != nil {
		o.stopLog()
	}
	o.pull, o.stopLog = nil, nil
}

// replay applies the next records of the log that Redis may lack.
func (o *owner) replay(ctx context.Context) {
	if o.pull == nil {
		o.pull, o.stopLog = iter.Pull2(eventlog.Read(journal.LogDir(o.s.dir), o.redo))
		o.got = false
	}
	var records []event.Record
	end := false
	for !end && len(records) < batchRecords {
		rec, err, ok := o.pull()
		if d := (*eventlog.Damage)(nil); errors.As(err, &d) {
			continue // the log's owner has said so
		}
		if err != nil {
			o.s.log.Error("reading the event log failed; it is tried again", "reason", err)
			o.endReplay()
			return
		}
		if end = !ok || rec.Seq > o.upTo; !end {
			records, o.got = append(records, rec), true
		}
	}
	if len(records) > 0 {
		if o.apply(ctx, records) != nil {
			o.endReplay() // from o.redo, once Redis is back
			return
		}
		o.redo = records[len(records)-1].Seq + 1
		o.s.redo.Store(o.redo)
	}
	if !end {
		return
	}
	more := o.got && o.redo <= o.upTo // the log has grown since it was opened
	o.endReplay()
	if more {
		return
	}
	last := o.upTo
	o.redo, o.upTo = 0, 0
	o.part.span.low = max(o.part.span.low, o.part.span.last)
	o.mark(last)
}
