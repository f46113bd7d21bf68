package ranker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Slices of the deadline, as shares of it from its start. A stage that is not done by then is
// replaced by its stand-in. Features come first and cost a memory read or one round trip; vectors may
// have to be encoded and get the most; matching, blending and answering need what is left.
const (
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
	Recorder Recorder              // nil: nothing is recorded
	Steps    func(*Request) []Step // nil: none
	TextSpec TextSpec
	Clock    func() time.Time // nil: time.Now
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
	model, err := p.opt.Models.Model(req.Model)
	if err != nil {
		return nil, err
	}
	r := p.begin(req)
	ctx, cancel := context.WithDeadline(ctx, r.start.Add(r.deadline))
	defer cancel()
	r.score(ctx, model)
	r.order()
	r.steps(ctx)
	r.answer()
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

	model   *Model // the one whose scores are used; nil: input order
	state   *State
	matrix  *Matrix
	vectors [][]float32 // of the candidates
	scores  []float64
	list    List
	errs    []error
}

func (p *Pipeline) begin(req *Request) *ranking {
	r := &ranking{Pipeline: p, req: req, start: time.Now(), deadline: req.Deadline, now: req.Time, seed: req.Seed}
	if r.deadline == 0 {
		r.deadline = DefaultDeadline
	}
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
		case runtime.Error:
			err = fmt.Errorf("panic: %w\n%s", p, debug.Stack())
		default:
			err = fmt.Errorf("panic with a %T\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// score tries the model, then its fallbacks, then the order of the input.
func (r *ranking) score(ctx context.Context, model *Model) {
	for i, m := range append([]*Model{model}, r.opt.Models.Fallbacks(model.Version)...) {
		if i > 0 {
			r.degrade(BlendFallback)
		}
		err := r.scoreWith(ctx, m)
		if err == nil {
			r.model, r.resp.Model = m, m.Version
			return
		}
		r.errs = append(r.errs, fmt.Errorf("model %s: %w", m.Version, err))
	}
	r.degrade(BlendFallback)
	r.degrade(InputOrder)
	r.scores = make([]float64, len(r.req.Candidates))
	for i := range r.scores {
		r.scores[i] = -float64(i)
	}
}

// scoreWith reads, matches and blends for one model. Matchers and blend share one goroutine: handing
// over to another costs as much as a matcher does.
func (r *ranking) scoreWith(ctx context.Context, m *Model) error {
	r.readState(ctx, m.Schema)
	in := r.matchInput(ctx)
	ctx, cancel := r.slice(ctx, blendBy)
	defer cancel()
	req, matchUntil := r.req, r.start.Add(time.Duration(matchBy*float64(r.deadline)))
	done, err := within(ctx, func(ctx context.Context) (s scored, err error) {
		start := time.Now()
		blocks, errs := match(ctx, matchUntil, m.Matchers, in)
		s.errs, s.matched = errs, time.Since(start)
		start = time.Now()
		s.matrix = Assemble(m.Schema, req, in.State, m.Matchers, blocks)
		s.scores = make([]float64, s.matrix.N)
		if err := m.Blend.Score(s.matrix, s.scores); err != nil {
			return s, err
		}
		for _, x := range s.scores {
			if x-x != 0 { // NaN or infinite
				return s, errors.New("a score is not finite")
			}
		}
		s.blended = time.Since(start)
		return s, nil
	})
	r.errs = append(r.errs, done.errs...)
	if len(done.errs) > 0 {
		r.degrade(BlendFallback)
	}
	r.resp.Timings = append(r.resp.Timings, Timing{StageMatch, done.matched}, Timing{StageBlend, done.blended})
	if err != nil {
		return err
	}
	r.matrix, r.scores = done.matrix, done.scores
	return nil
}

// scored is what one model makes of a request.
type scored struct {
	matrix           *Matrix
	scores           []float64
	errs             []error // of matchers, whose columns are missing
	matched, blended time.Duration
}

// readState reads user and candidates; without an answer in time the ranking goes on with what the
// request itself says.
func (r *ranking) readState(ctx context.Context, schema *Schema) {
	start := time.Now()
	defer func() { r.timing(StageFeatures, start) }()
	ctx, cancel := r.slice(ctx, featuresBy)
	defer cancel()
	q := &Query{User: r.req.User, Candidates: r.req.Candidates, Context: r.req.Context, Now: r.now, Schema: schema}
	state, err := within(ctx, func(ctx context.Context) (*State, error) { return r.opt.Features.Read(ctx, q) })
	n := len(r.req.Candidates)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("features: %w", err))
		state = r.bareState(schema)
	}
	if state.Stale {
		r.degrade(FeaturesStale)
	}
	if state.Read < n {
		r.degrade(FeaturesMissing)
	}
	r.state = state
	r.resp.Coverage.Features = float64(state.Read) / float64(max(1, n))
}

// bareState is what a request says of itself.
func (r *ranking) bareState(schema *Schema) *State {
	n := len(r.req.Candidates)
	s := &State{Items: make([]*ItemInfo, n), Columns: make([]float32, n*len(schema.Columns()))}
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
