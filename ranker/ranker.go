// Package ranker is Relish's vocabulary and its pipeline: a user and a list of candidates go in, the
// list comes out in the order this user will like best.
//
// The story of one request: assign its arms (Experiments) and the model (Models), read user and candidates in one round trip
// (Features) while the item vectors are fetched (Vectors), let the matchers compare the user's
// history with every candidate (Matcher), assemble one float32 matrix of all columns (Assemble),
// score it (Blend), apply the post-steps (Step), answer, and hand the impression to the log
// (Recorder). Every stage has a slice of the deadline and a cheaper stand-in; what was left out is
// named in Response.Degraded.
//
// The interfaces here are declared by their consumer, this package, and implemented elsewhere; cmd
// wires them. This package imports no HTTP, Redis, ONNX Runtime or Arrow library.
package ranker

import (
	"context"
	"errors"
	"time"
)

// Errors of a ranking that the caller can act on. Everything else is degraded, not failed.
var (
	// ErrUnknownModel: Request.Model names no loaded model.
	ErrUnknownModel = errors.New("unknown model")
)

// Candidate is one item to be ranked.
type Candidate struct {
	ID string
	// Inline, if not nil, holds for this request only, in place of the stored item: its parts that
	// are set (title, text, tags, each field) win over the stored ones.
	Inline *Item
	// Score is the retriever's own score, if HasScore.
	Score    float32
	HasScore bool
	// ColdStart ranks the candidate as if nobody had met it yet: its own counters are empty and no learned table
	// knows it; its content stands. Training and the cold-item experiment use it.
	ColdStart bool
}

// Request is one ranking to be made. Fields are validated by the caller (package api): 1 to 5,000
// candidates with distinct ids.
type Request struct {
	ID         string // request id, also the impression's id
	User       string
	Session    string
	Candidates []Candidate
	Context    map[string]FieldValue // scalar values only; "query" is the search text
	Limit      int                   // 0 = all
	Deadline   time.Duration         // 0 = an arm's, or DefaultDeadline
	Explain    int                   // explain the first N of the answer, 0 = none
	Model      string                // "" = the active one
	Seed       uint64                // for ties and exploration
	Record     bool                  // false: nothing is written or counted
	Time       int64                 // the clock of ages and decay, Unix ms; 0 = now
}

// DefaultDeadline is used where a request names none.
const DefaultDeadline = 100 * time.Millisecond

// RankedItem is one item of an answer.
type RankedItem struct {
	ID      string
	Rank    int     // from 1
	Score   float64 // the blend's raw score, before post-steps
	Explain *Explanation
}

// Explanation says why an item has its score: Base plus the contributions is the score, up to
// float32 rounding.
type Explanation struct {
	Base          float64
	Contributions []Contribution // largest magnitude first, zero ones left out
	// RankWithoutText is the place (from 1) the item would have if every text column were missing.
	RankWithoutText int
	MovedBy         []string // names of post-steps that changed its place
}

// Contribution is one feature's signed part of a score.
type Contribution struct {
	Feature      string
	Group        string
	Value        float64 // the feature's value, NaN when missing
	Contribution float64
}

// Coverage says what share of the candidates was scored with everything that exists of them.
type Coverage struct {
	Text     float64 // candidates scored with text / candidates that have a text; 1 if none has
	Features float64 // candidates whose state could be read / candidates
}

// The names of Response.Degraded, cheapest loss first. explain_partial stands beside the ladder.
const (
	EmbeddingsPartial = "embeddings_partial"
	FeaturesStale     = "features_stale"
	FeaturesMissing   = "features_missing"
	ScorerFallback    = "scorer_fallback"
	InputOrder        = "input_order"
	ExplainPartial    = "explain_partial"
)

// Stages of Response.Timings, in order.
const (
	StageFeatures = "features"
	StageVectors  = "vectors"
	StageSignals  = "signals"
	StageScorer   = "scorer"
	StageRules    = "rules"
	StageExplain  = "explain"
	StageTotal    = "total"
)

// Response is a finished ranking.
type Response struct {
	RequestID   string
	Items       []RankedItem
	Model       string
	Experiments map[string]string // experiment -> arm; never nil
	Coverage    Coverage
	Degraded    []string // never nil
	Timings     []Timing
}

// Timing is how long one stage took.
type Timing struct {
	Stage string
	Took  time.Duration
}

// Interaction is one thing a user did with an item.
type Interaction struct {
	Item   string
	Action string
	Time   int64 // event time, Unix ms
	Value  float32
}

// Shown is one item a user was shown lately.
type Shown struct {
	Item    string
	Time    int64
	Clicked bool // an interaction with it followed
}

// FeatureQuery is what Features.Read is asked for.
type FeatureQuery struct {
	User       string
	Candidates []Candidate
	Context    map[string]FieldValue
	Now        int64 // Unix ms
	Schema     *Schema
}

// RequestState is what is known of a user and the candidates, at one moment. It is the reader's own and
// shares nothing mutable with the store.
type RequestState struct {
	Seq uint64 // the last event that the state includes
	// UserFields, Recent and Shown are the user's; Recent and Shown newest first.
	UserFields map[string]FieldValue
	Recent     []Interaction
	Shown      []Shown
	// RecentItems is aligned with Recent: what is known of those items, nil for an unknown one.
	RecentItems []*ItemInfo
	// Items is aligned with the query's candidates, inline parts merged in; nil for an item that is
	// neither known nor given inline.
	Items []*ItemInfo
	// Columns is N x len(Schema.Columns()) row-major. Features fills the raw values of the kinds for
	// which FromState holds (before clamping, defaults, missing indicators and within-list
	// transforms, which Assemble applies); every other cell is NaN.
	Columns []float32
	// ItemsRead is how many candidates' state could be read (known or certainly unknown).
	ItemsRead int
	Stale     bool // served from an older copy
}

// Features reads user and item state.
type Features interface {
	// Read returns the state for q in one round trip, or an error when it cannot within ctx.
	// Safe for concurrent use.
	Read(ctx context.Context, q *FeatureQuery) (*RequestState, error)
}

// Vectors gives unit-length text vectors.
type Vectors interface {
	// Fetch fills out[i] with the vector of items[i]'s text, nil where the item is nil, has no
	// text, or could not be had before ctx ended; what was missed is encoded in the background.
	// The vectors are shared and must not be changed. Safe for concurrent use.
	Fetch(ctx context.Context, items []*ItemInfo, out [][]float32)
	// Lookup fills out with the vectors that are at hand, without waiting or queueing anything, and
	// returns how many items with a text have none.
	Lookup(items []*ItemInfo, out [][]float32) (missing int)
}

// SignalInput is what a matcher sees. All slices are aligned with State.Items or State.History.
type SignalInput struct {
	Request       *Request
	State         *RequestState
	Now           int64
	ItemVectors   [][]float32 // nil entries: no vector
	RecentVectors [][]float32
	Query         *ItemInfo // the search text as an item, nil without one
	QueryVector   []float32 // nil without one

	indexCache *itemIndexCache // nil: nothing is kept
}

// Signal compares a user's history with the candidates.
type Signal interface {
	// Columns names the columns that Match writes, as features.yaml may use them (kind "match").
	Columns() []string
	// Compute writes N x len(Columns()) values row-major into out; a missing value is NaN.
	// It must not keep in. Safe for concurrent use.
	Compute(ctx context.Context, in *SignalInput, out []float32) error
}

// Matrix is the feature matrix of one request: N rows (candidates) by len(Columns), row-major.
// A missing cell is NaN.
type Matrix struct {
	N       int
	Columns []Column
	Data    []float32
}

// Row returns row i, which aliases Data.
func (m *Matrix) Row(i int) []float32 {
	w := len(m.Columns)
	return m.Data[i*w : (i+1)*w : (i+1)*w]
}

// Scorer turns a matrix into scores.
type Scorer interface {
	// Score writes one finite score per row into out. Safe for concurrent use.
	Score(m *Matrix, out []float64) error
	// Explain writes each column's signed contribution to row's score into out (len(m.Columns)) and
	// returns the base: base plus the sum is the row's score.
	Explain(m *Matrix, row int, out []float64) (base float64, err error)
}

// Model is one way to rank: a schema, its matchers and the blend over their columns.
type Model struct {
	Version string
	Schema  *Schema
	Signals []Signal
	Scorer  Scorer
	// Vectors are by the text encoder that the model was trained with, where that is one of its own; nil: the pipeline's.
	Vectors Vectors
}

// WithVectors is the same model with other vectors.
func (m *Model) WithVectors(v Vectors) *Model {
	with := *m
	with.Vectors = v
	return &with
}

// Models finds models by name.
type Models interface {
	// Model returns the named model, the active one for "", or ErrUnknownModel.
	Model(name string) (*Model, error)
	// Fallbacks returns what to try, in order, when the given model fails; the prior comes last.
	Fallbacks(version string) []*Model
}

// Entry is a scored candidate on its way through the post-steps.
type Entry struct {
	Index   int // into Request.Candidates
	Score   float64
	MovedBy []string
}

// List is what post-steps work on: Entries is in the current order, best first. A step may reorder
// it and shorten it, and names itself in MovedBy of the entries whose place it changed on purpose.
type List struct {
	Request *Request
	State   *RequestState
	Vectors [][]float32 // aligned with Request.Candidates, nil entries possible
	Entries []Entry
	// Propensity is aligned with Entries once an exploring step has set it: P(item at this place |
	// the places above it). nil means 1 everywhere.
	Propensity []float64
}

// Rule is one post-step: a rule, diversity, exploration.
type Rule interface {
	Name() string
	Apply(ctx context.Context, l *List) error
}

// RuleKind is a post-step's place in the order in which they are applied.
type RuleKind int

// The slots, in their order.
const (
	RuleFilter RuleKind = iota
	RuleBoost
	RuleDiversity
	RulePin
	RuleExploration
	ruleKinds
)

// RuleSet are the post-steps of a ranking by slot, nil where there is none.
type RuleSet [ruleKinds]Rule

// Impression is the record of one answered ranking.
type Impression struct {
	ID          string
	Time        int64 // event time, Unix ms
	User        string
	Session     string
	Items       []string  // the answered order, the first 100 at most
	Scores      []float64 // the retriever's, aligned with Items, 0 for none; nil if no candidate had one
	Context     map[string]FieldValue
	Propensity  []float64 // aligned with Items; nil = 1 everywhere
	Model       string
	Experiments map[string]string // experiment -> arm, as served
	// Exposed names the experiments one of whose parts was reached (Trial.Parts), sorted; Fallback
	// the arms that were assigned and for which control stood in, by experiment.
	Exposed            []string
	Fallback           map[string]string
	ExperimentsVersion string       // version of the experiments' configuration, "" without one
	Interleaved        *Interleaved // nil mostly
	SchemaHash         string
	Degraded           []string
	StateSeq           uint64
	Took               time.Duration // from the start of the ranking to its record
	MatrixHash         uint64
	// Replayable: Items are all candidates, and none came with content of its own; so a replay can make the same matrix.
	Replayable bool
	// Matrix holds the feature matrix rows of Items for a share of requests, else nil.
	Matrix []float32
}

// MaxImpressionItems bounds the items kept in an impression record.
const MaxImpressionItems = 100

// Recorder takes impressions off the request path.
type Recorder interface {
	// Record hands the impression to the log. It never blocks: when the hand-off queue is full the
	// impression is dropped and counted. The recorder owns imp afterwards.
	Record(imp *Impression)
}
