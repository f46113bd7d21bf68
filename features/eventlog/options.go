package eventlog

import (
	"time"

	"relish/features/event"
	"relish/internal/durable"
	"relish/ranker"
)

// Options of a log. The zero value works.
type Options struct {
	// SegmentBytes is the size above which a segment is sealed; 0 = 64 MiB.
	SegmentBytes int64
	// MaxBytes is the size of the log above which appends fail with ranker.ErrLogFull, until 1/64
	// of it is free again; 0 = no limit.
	MaxBytes int64
	// MinFreeBytes of the disk stay free: appends fail with ranker.ErrLogFull before it is full,
	// until a quarter more is free again. 0 = 256 MiB, but at most a 20th of the disk.
	MinFreeBytes int64
	// RetainBytes is the size above which sealed segments are dropped, oldest first; 0 = keep all.
	RetainBytes int64
	// RetainAge is the age at which sealed segments are dropped, by the arrival of their last
	// record; 0 = keep all.
	RetainAge time.Duration
	// BeforeDrop is called before retention drops segments, with the first sequence that is kept.
	// After an error nothing is dropped; retention tries again with the next segment. It may take
	// long: it runs on a goroutine of the log, one call at a time, and Close waits for it. While it
	// runs, the log may exceed its limits by what arrives. nil: segments are dropped at once.
	BeforeDrop func(first uint64) error
	// Replica is the id that a log without segments gets, 16 hex digits. "": that of a log which
	// was there before, or a random one.
	Replica string
	// UsedUpTo is a sequence that a record is known to have had. New records get later ones, even
	// if the log ends before it because its last records are lost.
	UsedUpTo uint64
	// QueueBytes is the memory of events that wait for the disk above which Append fails at once;
	// 0 = 64 MiB. A single request is never too large.
	QueueBytes int64
	FS         durable.FS       // changes the folder; nil = durable.Disk
	Clock      func() time.Time // nil = time.Now
	// Elapsed is the real time since some moment, which a change of the system's clock does not
	// affect. nil = the time since the system started, or with a Clock none: its steps are then
	// checked as those between two processes.
	Elapsed func() time.Duration
	// AcceptClock confirms that the clock is right when the log is opened, however far it is ahead
	// of the newest record.
	AcceptClock bool
	// OnClock is called when arrivals stop following the clock because it stepped ahead (ahead > 0,
	// how far), and when they follow it again (ahead = 0). It runs on the owner goroutine; nil =
	// nobody is told.
	OnClock func(ahead time.Duration)

	// Owned fails if this process may not write to the folder any more. Nothing is acknowledged
	// then. It runs on the owner goroutine for every batch; nil = the process always may.
	Owned func() error

	// Admit decides on each event in order, before it gets a number; nil admits all. It may change
	// the event. Commit gets the records that became durable, in order. Abort gets the admitted
	// records that did not become durable. All three run on the owner goroutine.
	Admit  func(e *ranker.Event, arrival int64) ranker.EventOutcome
	Commit func([]event.Record)
	Abort  func([]event.Record)
}

// Stats are the figures of a log.
type Stats struct {
	Bytes    int64 // of all segments
	Segments int
	Syncs    int64 // batches made durable
	Failures int64 // failed batches, and segments that retention failed to drop
	Refused  int64 // events that found the queue full
	Queued   int64 // bytes of the events that wait for the disk
	CutBytes int64 // incomplete end of the newest segment that Open cut off
	Full     bool  // the last append failed because the log or its disk is full
	// ClockAhead is how far the system's clock is ahead of the arrivals. It is 0 unless the clock
	// stepped ahead and nobody has confirmed the step.
	ClockAhead time.Duration
}
