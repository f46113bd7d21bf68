// Package event decodes, checks and encodes events. The event itself is ranker.Event.
//
// Clients send four kinds of events: an item was described, a user was described, items were shown
// (impression), and a user did something with an item (interaction). Events arrive as native JSON
// or as Metarank's JSON. They may arrive twice and out of order. Package importfile reads files of
// them.
//
// Decode and DecodeMetarank read one event. Validate applies the same rules to all of
// them. AppendLog and DecodeLog write and read the form in the event log, which is native JSON with
// further fields.
package event

import "relish/ranker"

// MaxLine bounds one event in bytes, as it is sent or written in a file.
const MaxLine = 8 << 20

// Record is an event in the event log, with its place in the order in which state is computed.
type Record struct {
	Seq     uint64 // from 1, without gaps within one replica's log
	Arrival int64  // Unix ms; it never decreases within one log
	Replica string // the id of the replica's log, 16 hex digits
	Event   ranker.Event
}
