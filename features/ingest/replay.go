package ingest

import (
	"cmp"
	"errors"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/internal/durable"
)

// replayBatch is the number of records that Options.Apply gets at once during Open.
const replayBatch = 1000

// defaultReplayCheckpoint is Options.ReplayCheckpoint if that is 0. Reading so many records takes
// some seconds, and much longer than writing a checkpoint of what they change.
const defaultReplayCheckpoint = 1_000_000

// usedUpTo returns the newest sequence that a file of the data folder knows to have been used.
func (g *Ingester) usedUpTo(done erasedFile) uint64 {
	used := max(g.seq, done.UpTo)
	if g.opt.AppliedSeq != AllApplied {
		used = max(used, g.opt.AppliedSeq)
	}
	return used
}

// loadErased returns the file of the erasures that are done. undone says that the log is another
// one than that in which they were done, or an older copy of it.
func (g *Ingester) loadErased() (done erasedFile, undone bool, err error) {
	if done, err = readErased(g.dir); err != nil {
		return done, false, err
	}
	holds, err := done.holds(g.dir)
	if err != nil || holds {
		return done, false, err
	}
	g.opt.Log.Warn("the event log is not the one from which erased users were removed last, or " +
		"an older copy of it; their removal is repeated")
	own, err := done.ofLog(g.dir)
	if !own {
		done = erasedFile{}
	}
	return done, true, err
}

// identity returns the id that a log without segments must have, "" if no file names one.
func (g *Ingester) identity() string { return cmp.Or(g.opt.AppliedReplica, g.replica) }

// replay reads the log's records after the checkpoints, and applies them. It writes checkpoints
// meanwhile, so that a start that is interrupted again and again comes to its end.
//
// If the end of the log is missing or undone is true, erasures that were done may have to be done
// again, and the whole log is read for them.
func (g *Ingester) replay(done erasedFile, undone bool) error {
	from := min(g.seq, g.opt.AppliedSeq) + 1
	missing, err := g.reportMissing()
	if err != nil {
		return err
	}
	if undone = undone || missing; undone {
		done, from = erasedFile{}, 1
	}
	// Nothing reads the records before from, but a loss among them must not go unnoticed.
	cut, err := eventlog.CheckEnds(LogDir(g.dir), from)
	if err != nil {
		return err
	}
	for _, d := range cut {
		g.reportDamage(d)
	}
	r := replayer{g: g, first: from, seq: g.seq}
	for rec, err := range eventlog.Read(LogDir(g.dir), from) {
		var d *eventlog.Damage
		if errors.As(err, &d) {
			g.reportDamage(d)
			continue
		}
		if err != nil {
			return err
		}
		if undone {
			g.erase.observe(&rec)
		}
		if err := r.add(&rec); err != nil {
			return err
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	g.erase.mu.Lock()
	defer g.erase.mu.Unlock()
	g.erase.finish(done.UpTo)
	return nil
}

// reportDamage logs damage, except for the missing end, which reportMissing has logged.
func (g *Ingester) reportDamage(d *eventlog.Damage) {
	if _, end := g.log.Missing(); end != nil && *end == *d {
		return
	}
	g.opt.Log.Error(
		"the event log is damaged; continuing without the damaged records", "file", d.File,
		"offset", d.Offset, "reason", d.Reason,
	)
}

// reportMissing prepares for a log whose end is missing: somebody removed it, or put an older copy
// in its place. What came of the missing records stays in the state. Events that are in neither are
// forgotten, so that a client can send them again. An older log may have records of erased users,
// so all its erasures are done again.
func (g *Ingester) reportMissing() (bool, error) {
	from, d := g.log.Missing()
	if d == nil {
		return false, nil
	}
	g.opt.Log.Error("the end of the event log is missing; the state keeps what came of it, and "+
		"new records get later numbers. Put the newer files of the log back if you have them",
		"file", d.File, "reason", d.Reason, "from", from)
	if g.opt.AppliedSeq != AllApplied {
		kept := max(from-1, g.opt.AppliedSeq)
		if g.seq > kept {
			g.ids.forget(g.seq - kept)
		}
	}
	// Later records hide that something is missing, so the files must not claim more than the log.
	return true, errors.Join(durable.Remove(g.opt.FS, g.checkpointPath()),
		durable.Remove(g.opt.FS, erasedPath(g.dir)))
}

// replayer applies the records of the log in batches.
type replayer struct {
	g     *Ingester
	first uint64 // the sequence with which the replay began
	seq   uint64 // the records up to it are remembered already
	batch []event.Record
	last  uint64 // of the records in the batch or before it
	count int    // records since the last checkpoint
}

func (r *replayer) add(rec *event.Record) error {
	r.last = rec.Seq
	if rec.Seq > r.seq {
		r.g.ids.admit(event.IdentityOf(&rec.Event, rec.Arrival))
		r.g.observe(rec)
	}
	if rec.Seq > r.g.opt.AppliedSeq {
		r.batch = append(r.batch, *rec)
	}
	if r.count++; r.count%replayBatch == 0 {
		return r.flush()
	}
	return nil
}

func (r *replayer) flush() error {
	if len(r.batch) > 0 {
		r.g.opt.Apply(r.batch)
		r.batch = r.batch[:0]
	}
	if r.count >= r.g.opt.ReplayCheckpoint {
		r.count = 0
		if err := r.g.checkpoint(); err != nil {
			r.g.opt.Log.Warn("cannot write a checkpoint while the log is read", "error", err)
		}
	}
	if r.g.opt.OnReplay == nil || r.last < r.first {
		return nil
	}
	return r.g.opt.OnReplay(r.last-r.first+1, r.g.log.LastSeq()-r.first+1)
}
