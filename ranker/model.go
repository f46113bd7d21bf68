package ranker

import (
	"context"
	"time"

	"relish/internal/stats"
)

// PriorVersion is the version of the prior, the model that needs no training and is always there.
const PriorVersion = "prior"

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
	shared     *requestCache   // see OncePerRequest; nil: nothing is cached
	history    *cachedHistory  // see OfHistory; nil: nothing is kept
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
	// NoAnswer estimates whether any candidate answers a search text; nil: the model cannot tell.
	NoAnswer *NoAnswer
	// Histories keeps what Signals computed of users' histories. Copies of the model share it. nil:
	// each request computes it again.
	Histories *HistoryCache
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

// InMemory is implemented by signals and scorers that say how they work. If all signals of a model
// and its scorer work in memory, the pipeline runs them in the request's own goroutine. Otherwise
// it takes a goroutine that it can leave behind if they hang.
type InMemory interface {
	// InMemory reports whether Compute or Score only computes: it waits for nothing, and takes less
	// than 20 µs for each candidate.
	InMemory() bool
}

// inMemory reports whether all signals and the scorer work in memory.
func (m *Model) inMemory() bool {
	for _, s := range m.Signals {
		if c, ok := s.(InMemory); !ok || !c.InMemory() {
			return false
		}
	}
	c, ok := m.Scorer.(InMemory)
	return ok && c.InMemory()
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
	Forced  string // the reason given for it although the gate refused it; "" if the gate did not
	Metrics map[string]stats.Interval
}
