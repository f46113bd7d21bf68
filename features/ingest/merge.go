package ingest

import (
	"iter"

	"relish/features/event"
	"relish/features/eventlog"
)

// ReadLogs yields the records of one or several replicas' event logs, merged as eventlog.Merge
// does. An event that several logs have counts once: a client that got no answer from one replica
// sends the event to another one. The record that arrived first is kept, also if another event has
// its id; at the end onConflicts gets the number of such events, if there are any. limit is how
// many event ids are remembered, see features.Config. Errors are those of eventlog.Read.
func ReadLogs(
	limit int, onConflicts func(n int), dirs ...string,
) iter.Seq2[event.Record, error] {
	if len(dirs) == 1 {
		return eventlog.Read(dirs[0], 1) // its Ingester dropped the duplicates
	}
	return func(yield func(event.Record, error) bool) {
		seen := NewDeduplicator(limit)
		for rec, err := range eventlog.Merge(dirs...) {
			if err == nil && !seen.Add(&rec) {
				continue
			}
			if !yield(rec, err) {
				return
			}
		}
		if n := seen.Conflicts(); n > 0 {
			onConflicts(n)
		}
	}
}
