package ranker

import (
	"fmt"
	"time"
)

// Bounds of an impression.
const (
	// MaxImpressionItems bounds the items that an impression keeps.
	MaxImpressionItems = 100
	// MaxOtherBytes bounds the ids of Impression.Scored.Others, in bytes together.
	MaxOtherBytes = 64 << 10
	// MaxInlineBytes bounds the strings in Impression.Scored.Inline, in bytes together.
	MaxInlineBytes = 64 << 10
)

// EventKind says what an event tells. Its text is the member "type" of the native JSON form.
type EventKind string

// The kinds of events. Clients send the first four. The server writes the other three itself and
// never accepts them from a client.
const (
	EventItem        EventKind = "item"        // an item was described
	EventUser        EventKind = "user"        // a user was described
	EventImpression  EventKind = "impression"  // items were shown to a user
	EventInteraction EventKind = "interaction" // a user did something with an item
	EventDelete      EventKind = "delete"      // an item was deleted
	EventErase       EventKind = "erase"       // a user was erased; it has UserHash, never the id
	EventTable       EventKind = "table"       // a new version of an external table is in use
)

// Event is one thing that happened. Kind says which fields are set.
//
// An Event is a plain value. Its slices, maps and pointers belong to whoever decoded it and do not
// change after that. Package features/event decodes, checks and encodes events.
type Event struct {
	Kind EventKind
	// ID is the event's own id, unique within Source. A second event with the same id is a
	// duplicate if it has the same content, and else rejected. The id of an impression is also what
	// Event.ImpressionID of later interactions names, and unique over all sources.
	ID string
	// Source says who gave the event its id: "key:NAME" for an API key, "stream:NAME" for a stream.
	// "" stands for the server itself, senders without a key, and imports, which put the name of
	// their source before the id.
	Source  string
	Time    int64  // event time, Unix ms; 0 = unknown, then the log sets the arrival time
	ItemID  string // item, interaction and delete events
	UserID  string // user, impression and interaction events
	Session string // impression and interaction events; "" = unknown

	// Item events. A nil field says nothing about that part: the event merges into what is known,
	// unless Replace is set (PUT /items).
	Title   *string
	Text    *string
	Tags    []string              // nil = says nothing, empty = the item has none
	Fields  map[string]FieldValue // item and user events
	Replace bool

	// Impression is set for impression events and only for them.
	Impression *Impression

	// Interaction events.
	Action       string
	ImpressionID string // the impression that the interaction follows; "" = unknown
	Value        *float64

	// Imported says that the event comes from an import of history. Training puts it where its Time
	// is, and a live event where it arrived. An imported event without a time keeps 0.
	Imported bool

	// UserHash identifies the user of an erase event, see features.UserHash. The log has it
	// encrypted.
	UserHash string

	// Table and Digest are a table event's table name and the SHA-256 of the table's file in hex.
	Table, Digest string
}

// Impression is a list of items that a user was shown. It is the payload of an impression event.
//
// The fields up to Experiments may come from a client that reports lists of its own. The fields
// after Served are set only for a list that Relish ranked.
type Impression struct {
	// Items is in the order shown. Of a list that Relish ranked it is the first MaxImpressionItems.
	Items []string
	// Scores is the retriever's scores, aligned with Items, 0 = none; nil if no item has one.
	Scores  []float64
	Context map[string]FieldValue
	// Propensity is aligned with Items: P(item here | the items above it); nil = 1 everywhere.
	Propensity  []float64
	Model       string            // the model's version; "" = unknown
	Experiments map[string]string // experiment -> arm, as served

	// Served says that Relish ranked the list. It is false for a list that a client reports.
	Served bool
	// Exposed names the experiments that took part in this ranking, sorted: a part of the ranking
	// that the experiment changes was reached. Package experiment/analysis counts only these users.
	Exposed []string
	// Fallback maps an experiment to its assigned arm where control was served instead.
	Fallback           map[string]string
	ExperimentsVersion string       // version of the experiments' configuration, "" without one
	Interleaved        *Interleaved // nil unless the list interleaves two arms
	SchemaHash         string       // Schema.Hash of the model's features
	StateHash          string       // Options.StateHash; "" in logs of versions without it
	Degraded           []string     // Response.Degraded
	StateSeq           uint64       // the last event that the features include
	// Took is the time from the start of the ranking to its record. Logs keep it in whole
	// microseconds; 0 = not measured.
	Took       time.Duration
	MatrixHash uint64 // Matrix.Hash of the rows of Items
	// Replayable says that the record has all that a replay needs for the rows of Items.
	Replayable bool
	// Scored is what a replay needs of the list that was scored. It is nil in logs of versions that
	// did not record it: their MatrixHash covers all candidates, and they are replayable if Items
	// are all candidates and none had inline content.
	Scored *ScoredList
	// Matrix holds the feature matrix rows of Items for a share of requests (Options.LogFeatures),
	// else nil.
	Matrix []float32
}

// ScoredList is what a replay needs of the list that was scored, besides the items that the
// impression names. MaxOtherBytes and MaxInlineBytes bound it.
type ScoredList struct {
	Candidates int // that were scored
	Removed    int // of these: by rules
	// Others are candidates that Items does not name, in no particular order. Those that do not fit
	// are left out at random: MissingOthers counts them.
	Others        []string
	OtherScores   []float64 // the retriever's, aligned with Others, 0 = none; nil if none has one
	MissingOthers int
	// Inline is the content that the request held for Items and Others, with ID set.
	Inline        []Item
	MissingInline int // candidates whose inline content does not fit
	// Stats are the statistics of the within-list features of the schema, in its order, if
	// something is missing, else nil: mean and standard deviation for a z-score or ratio, for a
	// rank the rank of each of Items.
	Stats []float64
}

// Interleaved says which arm each item of an interleaved answer comes from.
type Interleaved struct {
	Experiment string
	Arms       [2]string // control first
	Teams      []uint8   // aligned with the impression's items: index into Arms
}

// EventOutcome is what became of one event that was given to Store.Append. The zero value means
// that the event was accepted.
type EventOutcome struct {
	Duplicate bool        // the id is known; the event changed nothing
	Err       *EventError // why the event was rejected, nil if it was not
}

// EventError says why one event was rejected. Its text contains no user data other than the name
// of a JSON field and the beginning of a value that is no time.
type EventError struct {
	// Code is for programs: missing_field, invalid_field, unknown_field, malformed, time_in_future,
	// too_large, id_conflict.
	Code    string
	Message string // for people: what is wrong and what is expected
	Pointer string // JSON pointer into the event, "" for the event as a whole
}

// Error implements error. It returns the pointer and the message.
func (e *EventError) Error() string {
	if e.Pointer == "" {
		return e.Message
	}
	return fmt.Sprintf("%s: %s", e.Pointer, e.Message)
}
