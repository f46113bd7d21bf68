package ranker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/internal/parallel"
)

// Slices of the deadline, as shares of it from its start. A stage that is not done by then is
// replaced by its stand-in. Features come first and cost a memory read or one round trip; vectors may
// have to be encoded and get the most; matching, blending and answering need what is left.
const (
	userBy     = 0.2 // only where an experiment asks for the user's fields
	featuresBy = 0.4
	vectorsBy  = 0.75
	matchBy    = 0.85
	blendBy    = 0.92
	explainBy  = 0.95
)

// Options of a Pipeline. Features and Models are required.
type Options struct {
	Features Features
	Vectors  Vectors // nil: rank without text; coverage.text is then 1, since text is no part of the ranking
	Models   Models
	Recorder Recorder // nil: nothing is recorded
	Rules    RuleSet
	// Experiments assigns arms, which change parts of the above; nil: there are none.
	Experiments Experiments
	TextSpec    TextSpec
	Clock       func() time.Time // nil: time.Now
	// LogFeatures is the share of requests, 0 to 1, whose matrix is recorded whole.
	LogFeatures float64
	// Observe hears of every finished request; it must not block. nil: nobody does.
	Observe func(*Request, *Response, []error)
}

// Pipeline ranks. It is safe for concurrent use and keeps nothing between requests.
type Pipeline struct{ opt Options }

// New returns a pipeline over the given parts.
func New(opt Options) (*Pipeline, error) {
	if opt.Features == nil || opt.Models == nil {
		return nil, errors.New("a pipeline needs Features and Models")
	}
	if opt.LogFeatures < 0 || opt.LogFeatures > 1 {
		return nil, fmt.Errorf("the share of logged matrices is %g; it is 0 to 1", opt.LogFeatures)
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	return &Pipeline{opt}, nil
}

// Rank answers one request. It fails only for a model that does not exist; everything else that goes
// wrong is named in Response.Degraded, and every candidate that rules and limit leave is in the
// answer exactly once.
func (p *Pipeline) Rank(ctx context.Context, req *Request) (*Response, error) {
	r := p.begin(req)
	r.assign(ctx)
	model, err := r.choose()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, r.start.Add(r.deadline))
	defer cancel()
	r.score(ctx, model)
	r.order()
	r.reach()
	r.steps(ctx)
	r.interleave(ctx)
	r.answer()
	r.tell()
	r.explain(ctx)
	r.timing(StageTotal, r.start)
	r.record()
	if p.opt.Observe != nil {
		p.opt.Observe(req, r.resp, r.errs)
	}
	return r.resp, nil
}

// ranking is one request at work.
type ranking struct {
	*Pipeline
	req      *Request
	resp     *Response
	start    time.Time
	deadline time.Duration
	now      int64
	seed     uint64

	trials     []Assignment
	allocation string // version of the experiments' configuration
	plan       Arm    // what the arms in effect make of the service's own way
	reached    RankingPart

	model   *Model // the one whose scores are used; nil: input order
	state   *RequestState
	in      *SignalInput
	columns []float32   // the state's raw columns, kept for the other side of an interleaving
	matrix  *Matrix     // all columns, as the record has them
	blended *Matrix     // what the blend saw: without the text columns where an arm says so
	vectors [][]float32 // of the candidates
	scores  []float64
	list    List
	places  []int // without the text columns, nil until asked for
	errs    []error

	control *ranking // on the other side of an interleaving: the side that was ranked before
	other   *ranking // the other side of an interleaving, nil without one
	teams   []uint8  // aligned with list.Entries: 0 this side, 1 the other
}

func (p *Pipeline) begin(req *Request) *ranking {
	r := &ranking{Pipeline: p, req: req, start: time.Now(), deadline: req.Deadline, now: req.Time, seed: req.Seed}
	if r.deadline == 0 {
		r.deadline = DefaultDeadline
	}
	r.plan = Arm{Text: true, Rules: p.opt.Rules}
	if r.now == 0 {
		r.now = p.opt.Clock().UnixMilli()
	}
	if r.seed == 0 {
		r.seed = xxhash.Sum64String(req.User)
	}
	r.resp = &Response{RequestID: req.ID, Experiments: map[string]string{}, Degraded: []string{}, Coverage: Coverage{Text: 1, Features: 1},
		Timings: make([]Timing, 0, 8)}
	return r
}

func (r *ranking) degrade(name string) {
	for _, d := range r.resp.Degraded {
		if d == name {
			return
		}
	}
	r.resp.Degraded = append(r.resp.Degraded, name)
}

func (r *ranking) timing(stage string, since time.Time) {
	r.resp.Timings = append(r.resp.Timings, Timing{stage, time.Since(since)})
}

// slice returns a context that ends at the given share of the deadline.
func (r *ranking) slice(ctx context.Context, share float64) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, r.start.Add(time.Duration(share*float64(r.deadline))))
}

// within runs f and waits for it no longer than ctx: a late result is dropped, so f must own all it
// writes to. A panic in f is an error.
func within[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var res result
		res.err = guard(func() (err error) {
			res.value, err = f(ctx)
			return err
		})
		done <- res
	}()
	select {
	case res := <-done:
		return res.value, res.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// guard turns a panic into an error with its place. The panic's value may hold a user's data, so only
// the runtime's own are quoted: the error goes to the log.
func guard(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *parallel.Panic:
			err = panicked(p.Value, p.Stack)
		default:
			err = panicked(p, debug.Stack())
		}
	}()
	return f()
}

func panicked(value any, stack []byte) error {
	if err, ok := value.(runtime.Error); ok {
		return fmt.Errorf("panic: %w\n%s", err, stack)
	}
	return fmt.Errorf("panic with a %T\n%s", value, stack)
}

// errNothingScored: no model gave scores, so that the list is in the order of the input.
var errNothingScored = errors.New("no model scored the candidates")

// score tries the model, control's where it was an arm's, then its fallbacks, then the order of the input.
func (r *ranking) score(ctx context.Context, model *Model) {
	err := r.try(ctx, model)
	for err != nil && r.req.Model == "" && r.fall(PartModel|PartScorer, err) {
		r.degrade(ScorerFallback)
		if model, err = r.choose(); err == nil {
			err = r.try(ctx, model)
		}
	}
	if err == nil {
		return
	}
	r.degrade(ScorerFallback)
	for _, m := range r.opt.Models.Fallbacks(model.Version) {
		if r.try(ctx, m) == nil {
			return
		}
	}
	r.degrade(InputOrder)
	r.scores = make([]float64, len(r.req.Candidates))
	for i := range r.scores {
		r.scores[i] = -float64(i)
	}
}

// try ranks by one model.
func (r *ranking) try(ctx context.Context, m *Model) error {
	err := r.scoreWith(ctx, m)
	if err != nil {
		err = fmt.Errorf("model %s: %w", m.Version, err)
		r.errs = append(r.errs, err)
		return err
	}
	r.model, r.resp.Model = m, m.Version
	return nil
}

// scoreWith reads, matches and blends for one model. Matchers and blend share one goroutine: handing
// over to another costs as much as a matcher does.
func (r *ranking) scoreWith(ctx context.Context, m *Model) error {
	in := r.input(ctx, m)
	ctx, cancel := r.slice(ctx, blendBy)
	defer cancel()
	req, text, matchUntil := r.req, r.plan.Text, r.start.Add(time.Duration(matchBy*float64(r.deadline)))
	done, err := within(ctx, func(ctx context.Context) (s scored, err error) {
		start := time.Now()
		blocks, errs := match(ctx, matchUntil, m.Signals, in)
		s.errs, s.matched = errs, time.Since(start)
		start = time.Now()
		s.matrix = Assemble(m.Schema, req, in.State, m.Signals, blocks)
		s.blended, s.scores = s.matrix, make([]float64, s.matrix.N)
		if !text {
			s.blended = s.matrix.withoutGroup(GroupText)
		}
		if err := m.Scorer.Score(s.blended, s.scores); err != nil {
			return s, err
		}
		for _, x := range s.scores {
			if x-x != 0 { // NaN or infinite
				return s, errors.New("a score is not finite")
			}
		}
		s.took = time.Since(start)
		return s, nil
	})
	r.errs = append(r.errs, done.errs...)
	if len(done.errs) > 0 {
		r.degrade(ScorerFallback)
	}
	r.resp.Timings = append(r.resp.Timings, Timing{StageSignals, done.matched}, Timing{StageScorer, done.took})
	if err != nil {
		return err
	}
	r.matrix, r.blended, r.scores = done.matrix, done.blended, done.scores
	return nil
}

// scored is what one model makes of a request.
type scored struct {
	matrix, blended *Matrix
	scores          []float64
	errs            []error // of matchers, whose columns are missing
	matched, took   time.Duration
}

// input reads state and vectors. The second side of an interleaving takes over what the first has read,
// unless its schema has other columns or its encoder is another one.
func (r *ranking) input(ctx context.Context, m *Model) *SignalInput {
	if c := r.control; c != nil && c.model.Schema.Hash() == m.Schema.Hash() && c.model.Vectors == m.Vectors {
		state, in := *c.state, *c.in
		state.Columns = slices.Clone(c.columns)
		r.state, in.State = &state, &state
		return &in
	}
	r.readState(ctx, m.Schema)
	if r.interleaved() != nil {
		r.columns = slices.Clone(r.state.Columns) // Assemble takes over the state's own
	}
	r.in = r.matchInput(ctx, m)
	return r.in
}

// readState reads user and candidates; without an answer in time the ranking goes on with what the
// request itself says.
func (r *ranking) readState(ctx context.Context, schema *Schema) {
	start := time.Now()
	defer func() { r.timing(StageFeatures, start) }()
	ctx, cancel := r.slice(ctx, featuresBy)
	defer cancel()
	q := &FeatureQuery{User: r.req.User, Candidates: r.req.Candidates, Context: r.req.Context, Now: r.now, Schema: schema}
	state, err := within(ctx, func(ctx context.Context) (*RequestState, error) { return r.opt.Features.Read(ctx, q) })
	n := len(r.req.Candidates)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("features: %w", err))
		state = r.bareState(schema)
	}
	if state.Stale {
		r.degrade(FeaturesStale)
	}
	if state.ItemsRead < n {
		r.degrade(FeaturesMissing)
	}
	r.state = state
	r.resp.Coverage.Features = float64(state.ItemsRead) / float64(max(1, n))
}

// bareState is what a request says of itself.
func (r *ranking) bareState(schema *Schema) *RequestState {
	n := len(r.req.Candidates)
	s := &RequestState{Items: make([]*ItemInfo, n), Columns: make([]float32, n*len(schema.Columns()))}
	for i := range s.Columns {
		s.Columns[i] = canonicalNaN
	}
	for i, c := range r.req.Candidates {
		if c.Inline != nil {
			it := *c.Inline
			it.ID = c.ID
			s.Items[i] = NewItemInfo(it, r.opt.TextSpec)
		}
	}
	return s
}
