// Package event is the event model and its codecs.
//
// Four kinds of events tell Relish what happens: an item was described, a user was described, items
// were shown (impression), a user did something with an item (interaction). Three more kinds exist
// in the log only: an item was deleted, a user was forgotten, a table of features was imported.
// Events come in as native JSON, Metarank's JSON, or CSV of interactions, plain or compressed,
// possibly twice and out of order; whatever the way in, they become an Event here, are checked by
// Validate, and are kept in the log as native JSON.
package event

import (
	"errors"
	"fmt"

	"relish/ranker"
)

// Errors of a whole append, as opposed to one event's Outcome. Stores wrap them.
var (
	// ErrLogFull: the log has reached its disk limit; nothing was written (HTTP 507).
	ErrLogFull = errors.New("event log is full")
	// ErrLogUnavailable: the log cannot take events now, nothing was acknowledged; try again later (HTTP 503).
	ErrLogUnavailable = errors.New("event log is unavailable")
)

// EventKind is what an event tells. Its string form is the native "type".
type EventKind string

// The kinds of events. The last three are written by the server itself and never accepted from outside.
const (
	EventItem        EventKind = "item"
	EventUser        EventKind = "user"
	EventImpression  EventKind = "impression"
	EventInteraction EventKind = "interaction"
	EventDelete      EventKind = "delete" // the item is gone
	EventErase       EventKind = "erase"  // the user is forgotten; carries UserHash, never the id
	EventTable       EventKind = "table"  // a table of feature columns took the place of the older one of its name
)

// Event is one event of any kind; which fields are used depends on Kind. It is a plain value, its
// slices and maps belong to whoever decoded it and are not changed after that.
type Event struct {
	Kind EventKind
	ID   string // the event's own id: repeats of it are duplicates
	Time int64  // event time, Unix ms; 0 = the arrival time

	ItemID  string // item, interaction, delete
	UserID  string // user, impression, interaction
	Session string

	// Item events. nil means "says nothing of it"; an item event merges into what is known, unless
	// Replace is set (PUT /items).
	Title   *string
	Text    *string
	Tags    []string                     // nil = absent, empty = none
	Fields  map[string]ranker.FieldValue // item and user events
	Replace bool

	// Impression events. Items, Time, User, Session are taken from the embedded record's fields
	// above and here: Shown is the order shown.
	Shown       []string
	Scores      []float64 // the retriever's score of each shown item (Metarank's relevancy), 0 = none; nil if none at all
	Context     map[string]ranker.FieldValue
	Propensity  []float64
	Model       string
	Experiments map[string]string
	// Answer is set for impressions that Relish itself recorded.
	Answer *Answer

	// Interaction events.
	Action       string
	ImpressionID string
	Value        *float64

	// Erase events: UserHash(user id), see package features.
	UserHash string

	// Table events: the table's name and the SHA-256 of its file.
	Table, Digest string
}

// Answer is what the server adds to an impression it answered itself.
type Answer struct {
	SchemaHash string
	Degraded   []string
	StateSeq   uint64
	TookMs     float64 // how long the ranking took, in ms; 0 = not measured
	MatrixHash uint64
	Replayable bool      // a replay can make the same matrix; see ranker.Impression
	Matrix     []float32 // rows of Shown, nil mostly
	// What reports need to know of the experiments; see ranker.Impression.
	Exposed     []string
	Fallback    map[string]string
	Allocation  string
	Interleaved *ranker.Interleaved
}

// FromImpression makes the event that records an answered ranking.
func FromImpression(imp *ranker.Impression) Event {
	return Event{
		Kind: EventImpression, ID: imp.ID, Time: imp.Time, UserID: imp.User, Session: imp.Session,
		Shown: imp.Items, Scores: imp.Scores, Context: imp.Context, Propensity: imp.Propensity, Model: imp.Model,
		Experiments: imp.Experiments,
		Answer: &Answer{SchemaHash: imp.SchemaHash, Degraded: imp.Degraded, StateSeq: imp.StateSeq,
			TookMs: float64(imp.Took.Microseconds()) / 1000, MatrixHash: imp.MatrixHash, Replayable: imp.Replayable, Matrix: imp.Matrix, Exposed: imp.Exposed, Fallback: imp.Fallback,
			Allocation: imp.ExperimentsVersion, Interleaved: imp.Interleaved},
	}
}

// EventError is why one event was refused. Message names the field and the reason, never the user's data.
type EventError struct {
	Code    string // "missing_field", "invalid_field", "unknown_field", "malformed", "time_in_future", "too_large", ...
	Message string
	Pointer string // JSON pointer into the event, "" for the event itself
}

// Error implements error: the pointer and the message.
func (e *EventError) Error() string {
	if e.Pointer == "" {
		return e.Message
	}
	return fmt.Sprintf("%s: %s", e.Pointer, e.Message)
}

// EventOutcome is what became of one event handed to a store: accepted (the zero Outcome), a duplicate,
// or refused.
type EventOutcome struct {
	Duplicate bool
	Err       *EventError
}

// Record is an event in the log, with its place in the one order that state is applied in.
type Record struct {
	Seq     uint64 // from 1, without gaps in one replica's log
	Arrival int64  // Unix ms, never going back
	Replica string // the log's replica id, 16 hex digits
	Event   Event
}
