// Package event is the event model and its codecs.
//
// Four kinds of events tell Relish what happens: an item was described, a user was described, items
// were shown (impression), a user did something with an item (interaction). Three more kinds exist
// in the log only: an item was deleted, a user was forgotten, a table of features was imported.
// Events come in as native JSON, Metarank's JSON, or CSV of interactions, plain or compressed,
// possibly twice and out of order; whatever the way in, they become an Event here, are checked by
// Validate, and are kept in the log as native JSON.
package event

import "relish/ranker"

// Record is an event in the log, with its place in the one order that state is applied in.
type Record struct {
	Seq     uint64 // from 1, without gaps in one replica's log
	Arrival int64  // Unix ms, never going back
	Replica string // the log's replica id, 16 hex digits
	Event   ranker.Event
}
