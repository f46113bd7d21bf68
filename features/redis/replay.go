package redis

import (
	"context"
	"errors"
	"iter"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
)

// requestReplay asks for the records from first to last once more.
func (o *syncer) requestReplay(first, last uint64) {
	if last < first {
		return
	}
	if o.redoFrom == 0 || first < o.redoFrom {
		o.endReplay()
		o.redoFrom = first
	}
	o.redoTo = max(o.redoTo, last)
	o.s.redoFrom.Store(o.redoFrom)
	o.s.setBehind(true)
}

func (o *syncer) endReplay() {
	if o.stopLog != nil {
		o.stopLog()
	}
	o.nextRecord, o.stopLog = nil, nil
}

// replay applies the next records of the log that Redis may lack.
func (o *syncer) replay(ctx context.Context) {
	if o.nextRecord == nil {
		o.nextRecord, o.stopLog = iter.Pull2(eventlog.Read(ingest.LogDir(o.s.dir), o.redoFrom))
		o.gotRecords = false
	}
	var records []event.Record
	end := false
	for !end && len(records) < batchRecords {
		rec, err, ok := o.nextRecord()
		if d := (*eventlog.Damage)(nil); errors.As(err, &d) {
			continue // the log's owner has said so
		}
		if err != nil {
			o.s.log.Error("reading the event log failed; it is tried again", "reason", err)
			o.endReplay()
			return
		}
		if end = !ok || rec.Seq > o.redoTo; !end {
			records, o.gotRecords = append(records, rec), true
		}
	}
	if len(records) > 0 {
		if o.apply(ctx, records) != nil {
			o.endReplay() // from o.redo, once Redis is back
			return
		}
		o.redoFrom = records[len(records)-1].Seq + 1
		o.s.redoFrom.Store(o.redoFrom)
	}
	if !end {
		return
	}
	more := o.gotRecords && o.redoFrom <= o.redoTo // the log has grown since it was opened
	o.endReplay()
	if more {
		return
	}
	last := o.redoTo
	o.redoFrom, o.redoTo = 0, 0
	o.own.applied.upTo = max(o.own.applied.upTo, o.own.applied.last)
	o.advance(last)
}
