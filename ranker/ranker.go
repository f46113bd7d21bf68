// Package ranker is Relish's vocabulary and its ranking pipeline. A user and a list of candidate
// items go in; the list comes out in the order that this user will like best. Start with
// [Pipeline], [Request], [Response], [Signal], [Scorer], [Rule] and [Store].
//
//	pipeline, err := ranker.New(ranker.Options{Features: store, Models: models, Recorder: store})
//	if err != nil { … }
//	request := &ranker.Request{ID: "r1", User: "u1", Candidates: candidates, Record: true}
//	response, err := pipeline.Rank(ctx, request)
//
// Rank answers one request in six steps. The stages of Response.Timings are parts of these steps:
//
//  1. assign draws the arms of the running experiments ([Experiments]) and selects a model.
//  2. gather reads the user and the candidates in one round trip ([StateReader], stage features)
//     and fetches text vectors ([Vectors], stage vectors).
//  3. score compares the user's history with every candidate ([Signal], stage signals), assembles
//     one float32 feature matrix and scores its rows ([Scorer], stage scorer).
//  4. order sorts by score and applies the rules ([Rule], stage rules). If two arms are
//     interleaved, the second one is scored and ordered too, and the two lists are merged.
//  5. explain says why the first items have their scores ([Explanation], stage explain).
//  6. record hands the impression to the event log ([Recorder]), from which training learns.
//
// Features, vectors, signals, scorer and explanation have a slice of the request's deadline and a
// fallback. A rule that fails is skipped, and recording never blocks. Response.Degraded names what
// was left out.
//
// File ranker.go declares the interfaces between packages and the types that they exchange.
// schema.go has the features of a model, and pipeline.go has the pipeline. Package internal/app
// wires everything. This package imports no HTTP, Redis, ONNX Runtime or Arrow library.
package ranker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"relish/internal/stats"
)

// PriorVersion is the version of the prior, the model that needs no training and is always there.
const PriorVersion = "prior"

// DefaultDeadline is the deadline of a request that names none, if no experiment sets one.
const DefaultDeadline = 100 * time.Millisecond

// MaxHistory bounds the interactions and the shown items that are kept for each user.
const MaxHistory = 1000

// Bounds of an impression.
const (
	// MaxImpressionItems bounds the items that an impression keeps.
	MaxImpressionItems = 100
	// MaxOtherBytes bounds the ids of Impression.Scored.Others, in bytes together.
	MaxOtherBytes = 64 << 10
	// MaxInlineBytes bounds the strings in Impression.Scored.Inline, in bytes together.
	MaxInlineBytes = 64 << 10
)

// Errors that a caller can act on. They are wrapped with the details.
var (
	// ErrUnknownModel says that no model of the requested name is loaded.
	ErrUnknownModel = errors.New("unknown model")
	// ErrModelRefused says that the model exists but must not be served.
	ErrModelRefused = errors.New("the bundle is refused")
	// ErrNoPreviousModel says that there is no model to roll back to.
	ErrNoPreviousModel = errors.New("no model was active before this one")
	// ErrIncompleteMatrix says that a feature matrix lacks inputs, so no model may be trained on
	// it.
	ErrIncompleteMatrix = errors.New("the feature matrix is incomplete")
	// ErrLogFull says that the event log has reached its size limit or that the disk is full.
	// Nothing was written (HTTP 507).
	ErrLogFull = errors.New("event log is full")
	// ErrLogUnavailable says that the event log cannot take events now. Nothing was acknowledged;
	// the caller may try again later (HTTP 503).
	ErrLogUnavailable = errors.New("event log is unavailable")
)

// ---- A request and its answer ----

// Candidate is one item to be ranked.
type Candidate struct {
	ID string
	// Inline, if not nil, holds for this request only. Its parts that are set (title, text, tags,
	// each field) replace the stored item's.
	Inline *Item
	// Score is the retriever's own score, valid if HasScore.
	Score    float32
	HasScore bool
	// ColdStart ranks the candidate as if nobody had interacted with it yet: its own counters are
	// empty and no trained signal knows its id. Its content stays. Training and the cold-item
	// experiment use it.
	ColdStart bool
}

// Request asks for one ranking. Its candidates have distinct ids. Package api bounds their number.
type Request struct {
	ID         string // request id, also the impression's id
	User       string
	Session    string
	Candidates []Candidate
	Context    map[string]FieldValue // scalars only; "query" is the search text
	Limit      int                   // items in the answer; 0 = all
	Deadline   time.Duration         // 0 = an experiment's, or DefaultDeadline
	Arrived    time.Time             // when the deadline begins; zero = when Rank is called
	Explain    int                   // explain the first N items; 0 = none
	Model      string                // model version; "" = the active one
	Seed       uint64                // of tie-breaks and exploration; 0 = a hash of User
	Record     bool                  // false: nothing is written or counted
	Time       int64                 // the clock of ages and decay, Unix ms; 0 = now
	// List is the list that the candidates were scored in, if the request replays an impression;
	// nil: the candidates are the list.
	List *ReplayedList
}

// Response is a finished ranking.
type Response struct {
	RequestID   string
	Items       []RankedItem
	Model       string            // version that scored; "" if none could
	Experiments map[string]string // experiment -> served arm; never nil
	Coverage    Coverage
	Degraded    []string // names of the constants below, each once; never nil
	Timings     []Timing // in the order in which the stages ran
	// ShortOfTime says that the scores took more than a quarter of the deadline, although the
	// ranking did not wait for vectors: too many rankings run at once.
	ShortOfTime bool
}

// RankedItem is one item of an answer.
type RankedItem struct {
	ID      string
	Rank    int          // from 1
	Score   float64      // the scorer's raw score, before the rules
	Explain *Explanation // nil beyond the first Request.Explain items
}

// Explanation says why an item has its score. Base plus the contributions is the score, up to
// float32 rounding.
type Explanation struct {
	Base          float64
	Contributions []Contribution // largest magnitude first; zeros are left out
	// RankWithoutText is the rank, from 1, that the item would have if every text column were
	// missing.
	RankWithoutText int
	MovedBy         []string // names of the rules that moved the item on purpose
}

// Contribution is one feature's signed part of a score.
type Contribution struct {
	Feature      string
	Group        string
	Value        float64 // of the feature; NaN if missing
	Contribution float64 // in the scorer's unit, log-odds
}

// Coverage says which share of the candidates was scored with everything that is known of them.
type Coverage struct {
	Text     float64 // candidates with a text vector / candidates with a text; 1 if none has a text
	Features float64 // candidates whose state could be read / candidates
}

// The names in Response.Degraded, from the cheapest loss to the largest. ExplainPartial has no
// place in that order.
const (
	EmbeddingsPartial = "embeddings_partial" // some candidates were scored without their text
	FeaturesStale     = "features_stale"     // state came from an older copy
	FeaturesMissing   = "features_missing"   // state of some candidates could not be read
	ScorerFallback    = "scorer_fallback"    // a signal failed, or another model scored
	InputOrder        = "input_order"        // no model could score: the request's order is kept
	ExplainPartial    = "explain_partial"    // some asked-for explanations are missing
)

// The stages in Response.Timings, which are parts of the steps of Pipeline.Rank.
const (
	StageFeatures = "features"
	StageVectors  = "vectors"
	StageSignals  = "signals"
	StageScorer   = "scorer"
	StageRules    = "rules"
	StageExplain  = "explain"
	StageTotal    = "total"
)

// Timing is how long one stage took. A stage that ran twice has two entries.
type Timing struct {
	Stage string
	Took  time.Duration
}

// ---- Items and their fields ----

// Item is what the catalogue says of one item. All strings are valid UTF-8.
type Item struct {
	ID     string
	Title  string
	Text   string
	Tags   []string
	Fields map[string]FieldValue
}

// ItemInfo is an item prepared for ranking. It is immutable and may be shared by any number of
// goroutines. NewItemInfo makes it.
type ItemInfo struct {
	Item
	// TextKey is the content hash of the composed text; 0 exactly if the text is empty.
	TextKey uint64
	// Tokens holds the sorted, distinct hashes of the lower-cased words of title and tags, at most
	// MaxTokens of them.
	Tokens []uint32
	// Transient is true if the text came with a request: a search text or inline content. It may be
	// personal, so its vector is kept in memory only.
	Transient bool

	spec TextSpec
}

// FieldValue is a number, a boolean, a string, or a list of strings or numbers. Exactly the member
// that Kind names is set; a boolean is held in Num as 0 or 1.
type FieldValue struct {
	Kind ValueKind
	Num  float64
	Str  string
	List []string
	Nums []float64
}

// ValueKind says which member of a FieldValue holds the value.
type ValueKind uint8

// The kinds of field values. The zero kind means "no value".
const (
	NoValue ValueKind = iota
	Number
	Bool
	String
	Strings
	Numbers
)

// ---- State and vectors ----

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

// ---- Models: signals, matrix, scorer ----

// SignalInput is what a signal reads. Its slices are aligned with State.Items or State.RecentItems.
type SignalInput struct {
	Request       *Request
	State         *RequestState
	Now           int64       // Unix ms
	ItemVectors   [][]float32 // by candidate; nil: no vector
	RecentVectors [][]float32 // by recent item; nil: no vector
	Query         *ItemInfo   // the search text as an item; nil without one
	QueryVector   []float32   // nil without one

	indexCache *itemIndexCache // nil: nothing is cached
}

// Signal compares a user's history with the candidates and writes feature columns. Its output
// depends on its input alone, so that replay computes the same columns as serving did.
// Implementations are safe for concurrent use.
type Signal interface {
	// Columns returns the names of the columns that Compute writes. features.yaml refers to them by
	// kind "signal".
	Columns() []string
	// Compute writes N x len(Columns()) values to out, row-major; a missing value is NaN. It must
	// not keep in or out.
	Compute(ctx context.Context, in *SignalInput, out []float32) error
}

// Matrix is the feature matrix of one request: N rows (candidates) by len(Columns), row-major. A
// missing cell is NaN.
type Matrix struct {
	N       int
	Columns []Column
	Data    []float32

	moments []listMoments // of the features with a within-list z-score or ratio, in their order
}

// Column is one column of the matrix.
type Column struct {
	Name  string
	Group string // in explanations; see GroupOf
}

// Scorer turns a matrix into scores. Implementations are safe for concurrent use.
type Scorer interface {
	// Score writes one finite score for each row to out, which has length m.N.
	Score(m *Matrix, out []float64) error
	// Explain writes each column's signed contribution to the row's score to out, which has length
	// len(m.Columns) and is all zeros. It returns the base: base plus the sum of out is the score.
	Explain(m *Matrix, row int, out []float64) (base float64, err error)
}

// Tunable is a Scorer with parameters that an arm can change.
type Tunable interface {
	Scorer
	// Tune returns a scorer with the named parameters at other values. It returns an error that
	// names the parameters that do not exist. The receiver stays as it is.
	Tune(params map[string]float64) (Scorer, error)
}

// Model is one way to rank: a schema, its signals and a scorer of their columns. It is immutable.
type Model struct {
	Version string
	Schema  *Schema
	Signals []Signal
	Scorer  Scorer
	// Vectors returns vectors of the fine-tuned encoder that the model was trained with. nil: the
	// model was trained with the pipeline's encoder.
	Vectors Vectors
	// Lifetime counts the references to the model, see Acquire and Release. Copies of the model
	// share it. nil: nothing of the model has to be closed.
	Lifetime *Lifetime
}

// WithVectors returns a copy of the model that reads the given vectors.
func (m *Model) WithVectors(v Vectors) *Model {
	with := *m
	with.Vectors = v
	return &with
}

// Models finds models by version. Implementations are safe for concurrent use.
type Models interface {
	// Acquire returns the named model, or the active one for "". The caller releases it. It returns
	// an error that wraps ErrUnknownModel if no such model is loaded.
	Acquire(version string) (*Model, error)
	// Fallbacks returns the versions to try, in order, if the given one fails. The prior comes
	// last.
	Fallbacks(version string) []string
}

// States of a model in ModelStatus.State.
const (
	ModelActive    = "active"    // serves requests that name no model
	ModelPrevious  = "previous"  // loaded: the active model's first fallback
	ModelLoaded    = "loaded"    // loaded for an experiment, or the prior
	ModelWaiting   = "waiting"   // loaded, not served yet; Reason says what it waits for
	ModelAvailable = "available" // on disk
	ModelRefused   = "refused"   // on disk, must not be served; Reason says why
)

// ModelStatus describes a model to an operator.
type ModelStatus struct {
	Version string
	State   string // one of the constants above
	Reason  string // why the model waits or is refused
	Created time.Time
	Parent  string // version that training was warm-started from; "" for a full training
	Forced  string // why it may be active although the gate refused it; "" if the gate did not
	Metrics map[string]stats.Interval
}

// ---- Rules ----

// Entry is a scored candidate on its way through the rules.
type Entry struct {
	Index   int // into Request.Candidates
	Score   float64
	MovedBy []string // names of rules
}

// List is what rules work on. Entries is in the current order, best first.
type List struct {
	Request *Request
	State   *RequestState
	Vectors [][]float32 // by candidate; nil: no vector
	Entries []Entry
	// Propensity is aligned with Entries once a rule that explores has set it. It is the
	// probability of the item at this position, given the positions above. nil means 1 everywhere.
	Propensity []float64
}

// Rule changes the order of a scored list. Implementations are safe for concurrent use.
type Rule interface {
	// Name returns the name that explanations show in MovedBy.
	Name() string
	// Apply may reorder and shorten the entries, and owns l until it returns. It appends its name
	// to MovedBy of the entries that it moves on purpose. After an error the pipeline restores the
	// list.
	Apply(ctx context.Context, l *List) error
}

// RuleKind is a kind of rule. Rules are applied in the order of their kinds.
type RuleKind int

// The kinds of rules, in the order in which they are applied.
const (
	RuleFilter RuleKind = iota
	RuleBoost
	RuleDiversity
	RulePin
	RuleExploration
	ruleKinds
)

// RuleSet is the rules of a ranking by kind; nil: no such rule.
type RuleSet [ruleKinds]Rule

// ---- Experiments ----

// RankingPart is a part of a ranking that an experiment's arm can change. Parts are combined as
// bits.
type RankingPart uint16

// The parts.
const (
	PartModel  RankingPart = 1 << iota // which bundle scores
	PartScorer                         // parameters of the scorer
	PartText                           // whether the scorer sees the text columns
	PartFilter
	PartBoost
	PartDiversity
	PartPin
	PartExploration
	PartDeadline
)

// Arm is one way to rank within an experiment: the service's own way with the parts in Sets
// changed. It is immutable and shared by requests.
type Arm struct {
	Name         string
	Sets         RankingPart
	Model        string             // model version
	ScorerParams map[string]float64 // parameters of a Tunable
	Text         bool
	Rules        RuleSet // of the kinds in Sets; nil there: no such rule
	Deadline     time.Duration
}

// Assignment is the arm that one experiment assigns to one request.
type Assignment struct {
	Experiment string
	// Parts is what any arm of the experiment changes. Exposure depends on these parts, whichever
	// arm was assigned, so control is exposed by the same rule as the arm that it is compared with.
	Parts RankingPart
	// Control replaces Arm if a part of Arm is unavailable. It is one side of an interleaving.
	Control, Arm *Arm
	// Interleave merges the lists of Control and Arm into one answer.
	Interleave bool
	// Forced says that the arm was set by a person who tests, not drawn. It is never exposed.
	Forced bool

	inEffect *Arm // nil: the service's own ranking, because control failed as well
	fellBack bool
}

// InterleavedArm is the arm that an interleaved answer names in Response.Experiments.
const InterleavedArm = "interleave"

// Experiments assigns arms to requests. Implementations are safe for concurrent use.
type Experiments interface {
	// Assign returns the request's assignments, at most one for each layer, and the version of the
	// configuration. user holds the user's fields, nil if they are not known. now is Unix ms. The
	// result depends on the arguments alone; the caller owns it.
	Assign(
		req *Request, user map[string]FieldValue, now int64,
	) (assignments []Assignment, version string)
	// ReadsUser reports whether an experiment needs the user's fields.
	ReadsUser() bool
}

// ---- Events and impressions ----

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

	// UserHash identifies the user of an erase event, see features.UserHash.
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

// ---- The store ----

// Recorder takes impressions off the request path. Safe for concurrent use.
type Recorder interface {
	// Record hands an impression event of a served list to the event log. It never blocks: if the
	// log's queue is full, the impression is dropped and counted. The recorder owns the event
	// afterwards.
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
