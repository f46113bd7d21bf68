package ranker

import "time"

// DefaultDeadline is the deadline of a request that names none, if no experiment sets one.
const DefaultDeadline = 100 * time.Millisecond

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
	// MinFit is the least probability, 0 to 1, that a candidate answers the search text for the
	// answer to have items; 0: it has them in any case. See Response.NoAnswer.
	MinFit  float64
	Explain int    // explain the first N items; 0 = none
	Model   string // model version; "" = the active one
	Seed    uint64 // of tie-breaks and exploration; 0 = a hash of User
	Record  bool   // false: nothing is written or counted
	Time    int64  // the clock of ages and decay, Unix ms; 0 = now
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
	// NoAnswer is the probability that no candidate answers the search text. It is nil without a
	// search text, and if the model has no estimate. Items is empty if 1 - NoAnswer is below
	// Request.MinFit.
	NoAnswer *float64
	Coverage Coverage
	Degraded []string // names of the constants below, each once; never nil
	Timings  []Timing // in the order in which the stages ran
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
	Known    float64 // candidates that are described or that somebody interacted with / candidates
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
