package ranker

import (
	"context"
	"iter"
)

// Recorder takes impressions off the request path. Safe for concurrent use.
type Recorder interface {
	// Record hands an impression event of a served list to the event log. It never blocks: if the
	// log's queue is full, the impression is dropped and counted. The recorder owns the event
	// afterwards. Its strings may be parts of longer ones: who keeps one for long copies it.
	Record(impression *Event)
}

// Store keeps the events and the state that follows from them: the embedded store
// (features/embedded) and the Redis store (features/redis) implement it. The suite
// features/storetest checks the contract. All methods are safe for concurrent use.
type Store interface {
	// StateReader reads the state for a ranking. A Read that follows a successful Append in the
	// same process includes the appended events. If a shared store does not answer in time, the
	// events wait in the log and follow later.
	StateReader
	// Recorder takes the impressions of served lists.
	Recorder

	// Append validates the events and makes the new, valid ones durable. The outcomes are aligned
	// with the events; one rejected event does not affect the others. The error concerns all
	// events: it wraps ErrLogFull or ErrLogUnavailable, or it is ctx's, in which case the events
	// may still become durable. The store owns the events afterwards.
	Append(ctx context.Context, events []Event) ([]EventOutcome, error)
	// Item returns the described item. ok is false if nobody has described it. The item is shared
	// and must not be changed.
	Item(id string) (item *Item, ok bool)
	// Items yields all described items in no particular order. It ends after the first error.
	Items(ctx context.Context) iter.Seq2[*ItemInfo, error]
	// DeleteItem deletes an item's content and counters. known is false if there was no such item.
	DeleteItem(ctx context.Context, id string) (known bool, err error)
	// EraseUser erases a user. The order to erase is durable and the user's state is gone when
	// EraseUser returns. The user's records leave the event log in the background; see
	// PendingErasures.
	EraseUser(ctx context.Context, userID string) error
	// PendingErasures returns how many erased users still have records in the event log.
	PendingErasures() int
	// Flush waits until the state includes every event that is in the event log, or ctx ends.
	Flush(ctx context.Context) error
	// Replica returns the id of this replica's event log, 16 hex digits.
	Replica() string
	// Close makes everything durable that was acknowledged, and releases the store's resources. No
	// other method may be called afterwards.
	Close() error
}
