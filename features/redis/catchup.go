package redis

import (
	"context"
	"errors"
	"iter"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
)

// verify finds out whether Redis still has what this replica wrote, and requests a replay of the
// rest. It runs at the start, after each failure and at each tick.
//
// A server that takes over may lack the newest writes. It got them in order. So with this replica's
// newest marker it has everything, and otherwise what was written before the manifest that it has.
func (sy *syncer) verify(ctx context.Context) error {
	m, stored, err := sy.s.manifestOf(ctx, sy.s.replica)
	if err != nil {
		return err
	}
	moved, err := sy.mastersMoved(ctx)
	if err != nil {
		return err
	}
	if sy.own == nil {
		return sy.loadOwnPart(ctx, m, stored)
	}
	switch {
	case m == nil || moved:
		// Redis was emptied, or another process holds a part of the cluster: everything may be
		// missing. The manifest lies on one node and says nothing of the others.
		sy.markAllDirty()
		sy.s.erasures.compare = true
		sy.requestReplay(1, sy.s.LastSeq())
	case sy.unverified || stored != sy.own.stored:
		sy.markAllDirty()
		sy.s.erasures.compare = true
		sy.requestReplay(m.appliedTo+1, sy.s.LastSeq())
	}
	if m != nil {
		sy.own.version = max(sy.own.version, m.version)
	}
	sy.own.stored, sy.unverified = stored, false
	return nil
}

// loadOwnPart loads what Redis has of this replica, and requests a replay of the records after it.
func (sy *syncer) loadOwnPart(ctx context.Context, m *manifest, stored partState) error {
	p := newCounterPart(sy.s.cfg, sy.s.replica)
	if m != nil {
		sy.reportOlderLog(usedSeq(m, stored))
		changed, err := sy.s.loadChunks(ctx, p, m)
		if errors.Is(err, errPartChanged) {
			return sy.loadOwnPart(ctx, nil, stored) // everything is counted again
		}
		if err != nil {
			return err
		}
		defer sy.sumCounters(changed)
	}
	p.stored, p.publishedTo = stored, p.appliedTo
	sy.own, sy.unverified = p, false
	sy.requestReplay(min(p.appliedTo, p.applied.upTo)+1, sy.s.LastSeq())
	sy.advance(p.appliedTo)
	return nil
}

// reportOlderLog says that Redis has had records up to used of this replica's log, which the log
// does not have: somebody put an older copy of it back. If Redis answers while the store opens, new
// records get later numbers. Otherwise they get numbers that Redis takes for included.
func (sy *syncer) reportOlderLog(used uint64) {
	last := sy.s.LastSeq()
	if used <= last {
		return
	}
	sy.s.stats.olderLog.Store(true)
	sy.s.log.Error("Redis has later records of this replica than its event log: an older copy of "+
		"the log was put back. New events may not count. Restart the server while Redis answers, "+
		"and then run relish rebuild --redis", "in_redis", used, "in_log", last)
}

// recount counts this replica's part of the counters again from the log. If retention has dropped a
// part of the log, the counters stay as they are: one event too many is better than all of those.
func (sy *syncer) recount() {
	if sy.s.FirstSeq() > 1 {
		return
	}
	before := sy.own.counters.Keys()
	p := newCounterPart(sy.s.cfg, sy.s.replica)
	p.version, p.stored, p.chunkVersions = sy.own.version, sy.own.stored, sy.own.chunkVersions
	sy.own = p
	sy.markAllDirty()
	sy.sumCounters(before)
	sy.requestReplay(1, sy.s.LastSeq())
}

func (sy *syncer) markAllDirty() {
	for n := range chunkCount {
		sy.own.dirtyChunks[n] = true
	}
}

// mastersMoved reports whether other servers than before hold the keys of a cluster: they may lack
// the newest writes. On a single server, manifest and marker tell that.
func (sy *syncer) mastersMoved(ctx context.Context) (bool, error) {
	if !sy.s.conn.Cluster {
		return false, nil
	}
	now, err := sy.s.conn.Masters(ctx)
	if err != nil {
		return false, err
	}
	moved := sy.masters != "" && sy.masters != now
	sy.masters = now
	return moved, nil
}

// requestReplay has the records from first to last applied again.
func (sy *syncer) requestReplay(first, last uint64) {
	if last < first {
		return
	}
	if sy.redoFrom == 0 || first < sy.redoFrom {
		sy.closeLog()
		sy.redoFrom = first
	}
	if sy.own != nil { // what is published until the replay ends must not promise more
		sy.own.appliedTo = min(sy.own.appliedTo, first-1)
	}
	sy.redoTo = max(sy.redoTo, last)
	sy.s.redoFrom.Store(sy.redoFrom)
	sy.s.setBehind(true)
}

func (sy *syncer) closeLog() {
	if sy.stopLog != nil {
		sy.stopLog()
	}
	sy.nextRecord, sy.stopLog = nil, nil
}

// replay applies the next batch of the records from redoFrom to redoTo. At their end it goes back
// to live records.
func (sy *syncer) replay(ctx context.Context) {
	if sy.nextRecord == nil {
		log := eventlog.Read(ingest.LogDir(sy.s.dir), sy.redoFrom)
		sy.nextRecord, sy.stopLog = iter.Pull2(log)
		sy.gotRecords = false
	}
	records, atEnd, err := sy.readBatch()
	if err != nil {
		sy.s.log.Error("reading the event log failed; Redis lacks events until a later try works",
			"error", err)
		sy.closeLog()
		return
	}
	if len(records) > 0 {
		if sy.apply(ctx, records) != nil {
			sy.closeLog() // it goes on from redoFrom once Redis is back
			return
		}
		sy.redoFrom = records[len(records)-1].Seq + 1
		sy.own.appliedTo = max(sy.own.appliedTo, sy.redoFrom-1)
		sy.s.redoFrom.Store(sy.redoFrom)
	}
	if !atEnd {
		return
	}
	grown := sy.gotRecords && sy.redoFrom <= sy.redoTo // the log has grown since it was opened
	sy.closeLog()
	if grown {
		return
	}
	last := sy.redoTo
	sy.redoFrom, sy.redoTo = 0, 0
	sy.own.applied.upTo = max(sy.own.applied.upTo, sy.own.applied.last)
	sy.advance(last)
}

// readBatch reads up to batchRecords records. atEnd is true if redoTo or the log's end was reached.
// Damaged records are skipped: the log has reported them when it was opened.
func (sy *syncer) readBatch() (records []event.Record, atEnd bool, err error) {
	for !atEnd && len(records) < batchRecords {
		rec, err, ok := sy.nextRecord()
		if damage := (*eventlog.Damage)(nil); errors.As(err, &damage) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if atEnd = !ok || rec.Seq > sy.redoTo; !atEnd {
			records, sy.gotRecords = append(records, rec), true
		}
	}
	return records, atEnd, nil
}
