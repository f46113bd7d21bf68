package ingest

import (
	"log/slog"
	"time"

	"relish/features/event"
	"relish/internal/durable"
)

// Options of an Ingester. DedupeIDs and Apply are required.
type Options struct {
	// MaxLogBytes is the size of the log at which Append fails with ranker.ErrLogFull; 0 = no
	// limit.
	MaxLogBytes int64
	// MinFreeBytes, QueueBytes, SegmentBytes, RetainBytes and RetainAge: see eventlog.Options.
	MinFreeBytes int64
	QueueBytes   int64
	SegmentBytes int64
	RetainBytes  int64
	RetainAge    time.Duration
	// EraseAfter is the time within which an erased user's records leave the log; 0 = 24 h.
	EraseAfter time.Duration
	Checkpoint time.Duration    // time between checkpoints; 0 = 5 minutes
	DedupeIDs  int              // number of event ids remembered, by arrival
	Clock      func() time.Time // nil = time.Now
	// AcceptClock confirms that the clock is right, see eventlog.Options.
	AcceptClock bool
	Log         *slog.Logger // nil = none
	FS          durable.FS   // changes the data folder; nil = durable.Disk

	// AppliedSeq is the last sequence that the store already includes, of the log with the id
	// AppliedReplica ("": unknown). Open passes the log's later records to Apply, and none if it is
	// AllApplied.
	AppliedSeq     uint64
	AppliedReplica string
	// OnReplay is called during Open with the number of records read, and of all that will be read.
	// An error ends Open; nil = nobody is told.
	OnReplay func(done, total uint64) error
	// ReplayCheckpoint is the number of records after which Open writes a checkpoint; 0 = 10^6.
	ReplayCheckpoint int
	// UsedUpTo is a sequence of the log that the store is known to have had, 0 = none. New records
	// get later ones.
	UsedUpTo uint64
	// Apply takes durable records, in order and one call at a time. It runs during Open, and then
	// on the log's owner goroutine, before Append returns.
	Apply func([]event.Record)
	// OnCommit gets the records that Append made durable, after Apply, in order and one call at a
	// time. It gets none of those that Open replays, and must not wait or change them; nil = nobody
	// is told.
	OnCommit func([]event.Record)
	// Save makes the results of Apply durable, so that the next start need not repeat Apply; nil =
	// nothing to save. It runs at every checkpoint and may overlap Apply.
	Save func() error
	// BeforeDrop is called before retention drops the records before first, see eventlog.Options.
	BeforeDrop func(first uint64) error
	// EraseUsers removes erased users, by features.UserHash, from state that did not come from
	// Apply and that no checkpoint replaces; nil = there is no such state.
	EraseUsers func(hashes map[string]uint64) error
}
