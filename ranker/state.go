package ranker

import "context"

// MaxHistory bounds the interactions and the shown items that are kept for each user.
const MaxHistory = 1000

// Interaction is one thing that a user did with an item.
type Interaction struct {
	Item   string
	Action string
	Time   int64 // event time, Unix ms
	Value  float32
}

// Shown is one item that a user was recently shown.
type Shown struct {
	Item    string
	Time    int64 // Unix ms; items of one list have the same time
	Clicked bool  // an interaction with it followed
}

// ItemCounts says how often an item was shown and how often any action followed, over all users and
// all time.
type ItemCounts struct{ Shown, Actions float64 }

// FeatureQuery asks for the state of a user and candidates.
type FeatureQuery struct {
	User       string
	Candidates []Candidate // may be empty: the user alone
	Context    map[string]FieldValue
	Now        int64 // Unix ms, the clock of ages and decay
	Schema     *Schema
}

// RequestState is what is known of a user and the candidates at one moment. The reader owns it: it
// shares nothing mutable with the store.
type RequestState struct {
	Seq uint64 // sequence of the last event that the state includes
	// UserFields, Recent and Shown are the user's. Recent and Shown are newest first.
	UserFields map[string]FieldValue
	Recent     []Interaction
	Shown      []Shown
	// RecentItems is aligned with Recent; nil for an unknown item.
	RecentItems []*ItemInfo
	// Items is aligned with the query's candidates, with inline parts merged in. It is nil for an
	// item that is neither known nor given inline.
	Items []*ItemInfo
	// Counts is aligned with Items; all zero for an unknown item and for a cold start. It is nil if
	// the state could not be read.
	Counts []ItemCounts
	// Columns is N x len(Schema.Columns()), row-major. StateReader writes the raw values of the
	// kinds for which IsStateKind holds; every other cell is NaN. Assemble finishes them: clamping,
	// missing indicators, within-list transforms and defaults.
	Columns []float32
	// ItemsRead is how many candidates' state could be read, including those known to be unknown.
	ItemsRead int
	Stale     bool // the state came from an older copy
}

// StateReader reads user and item state.
type StateReader interface {
	// Read returns the state for q in one round trip. It returns an error if it cannot before ctx
	// ends. The caller owns the result. Safe for concurrent use.
	Read(ctx context.Context, q *FeatureQuery) (*RequestState, error)
}

// MemoryReader is a StateReader that can answer from memory. The pipeline then reads in the
// request's own goroutine, because handing over to another one costs as much as a short read.
type MemoryReader interface {
	StateReader
	// ReadNow is Read without waiting. If it would have to wait, for a lock for example, it reads
	// nothing and returns false.
	ReadNow(q *FeatureQuery) (state *RequestState, ok bool, err error)
}

// Vectors returns the unit-length vectors of item texts, all from one encoder. Implementations are
// safe for concurrent use. Callers must not change the vectors, which are shared.
type Vectors interface {
	// Fetch writes the vector of items[i]'s text to out[i], which has the length of items. It is
	// nil if the item is nil or has no text, or if the vector is not there before ctx ends. Missed
	// texts are encoded in the background. See HasText for what is a text.
	Fetch(ctx context.Context, items []*ItemInfo, out [][]float32)
	// Lookup writes the vectors that are at hand to out, without waiting or queueing. It returns
	// how many items with a text have no vector.
	Lookup(items []*ItemInfo, out [][]float32) (missing int)
	// HasText reports whether the item's text has or will have a vector. It is false if the item
	// is nil or has no text, and once the encoder has found no token in the text.
	HasText(item *ItemInfo) bool
}
