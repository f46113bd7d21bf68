package trends

import (
	"relish/features/event"
	"relish/ranker"
)

const (
	// maxPending and maxPendingBytes bound the records that wait. If more come, they are read from
	// the log.
	maxPending      = 1024
	maxPendingBytes = 8 << 20
)

// Observe takes records that were appended to the log, in order. It does not wait for the counts.
func (f *Follower) Observe(records []event.Record) {
	f.pendingMu.Lock()
	for i := range records {
		rec, bytes := relevant(&records[i])
		f.pending, f.pendingBytes = append(f.pending, rec), f.pendingBytes+bytes
		if len(f.pending) > maxPending || f.pendingBytes > maxPendingBytes {
			f.pending, f.pendingBytes = nil, 0
		}
	}
	full := len(f.pending) > maxPending/2 || f.pendingBytes > maxPendingBytes/2
	f.pendingMu.Unlock()
	if full && f.mu.TryLock() {
		f.drain()
		f.mu.Unlock()
	}
}

// relevant returns a record with what counts of it, and about how many bytes that takes.
func relevant(rec *event.Record) (event.Record, int) {
	e := &rec.Event
	out := event.Record{Seq: rec.Seq, Arrival: rec.Arrival}
	bytes := len(e.ItemID) + len(e.Action)
	switch e.Kind {
	case ranker.EventItem:
		out.Event = *e
		for _, s := range []*string{e.Title, e.Text} {
			if s != nil {
				bytes += len(*s)
			}
		}
		for _, tag := range e.Tags {
			bytes += len(tag)
		}
		for name, v := range e.Fields {
			bytes += len(name) + len(v.Str) + 8*len(v.Nums)
			for _, s := range v.List {
				bytes += len(s)
			}
		}
	case ranker.EventInteraction, ranker.EventDelete:
		out.Event = ranker.Event{
			Kind: e.Kind, Time: e.Time, ItemID: e.ItemID, Action: e.Action,
		}
	}
	return out, bytes
}

// drain counts the pending records. If one is missing before them, they stay until catchUp has read
// it. Callers hold mu.
func (f *Follower) drain() {
	f.pendingMu.Lock()
	defer f.pendingMu.Unlock()
	if f.counts == nil {
		f.pending, f.pendingBytes = nil, 0 // Run reads the log when there is something to count
		return
	}
	for len(f.pending) > 0 && f.pending[0].Seq <= f.counts.seq+1 {
		f.counts.Apply(&f.pending[0])
		f.pending = f.pending[1:]
	}
	if len(f.pending) == 0 {
		f.pending, f.pendingBytes = nil, 0
	}
}
