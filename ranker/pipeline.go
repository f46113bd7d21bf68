package ranker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"relish/internal/parallel"
)

// The time by which each stage must be done, as a share of the deadline from the start of the
// request. A stage that is not done by then is replaced by its fallback. Features come first and
// cost a memory read or one round trip. Vectors may have to be encoded and get the largest slice.
// Signals, scoring and explanations need what is left.
const (
	userUntil     = 0.2 // only if an experiment asks for the user's fields
	featuresUntil = 0.4
	vectorsUntil  = 0.75
	signalsUntil  = 0.85
	scorerUntil   = 0.92
	explainUntil  = 0.95
)

// inTime is the share of the deadline by which the scores are there unless the service is busy, see
// Response.ShortOfTime.
const inTime = 0.25

// Options configures a Pipeline. Features and Models are required.
type Options struct {
	Features StateReader
	// Vectors returns text vectors. If it is nil, Relish ranks without text, and Coverage.Text is 1
	// because text is no part of the ranking.
	Vectors  Vectors
	Models   Models
	Recorder Recorder // nil: nothing is recorded
	Rules    RuleSet
	// Experiments assigns arms, which change parts of the ranking. nil: no experiment runs.
	Experiments Experiments
	TextSpec    TextSpec
	Clock       func() time.Time // nil: time.Now
	// StateHash identifies the configuration of the state that Features reads. It is recorded with
	// each impression, so that a replay compares matrices only if its configuration is the same.
	StateHash string
	// LogFeatures is the share of requests, 0 to 1, whose feature matrix is recorded.
	LogFeatures float64
	// MaxAbandoned bounds the abandoned calls of each stage; 0 means DefaultMaxAbandoned.
	// See Pipeline.Stats.
	MaxAbandoned int
	// OnRanked is called after each ranking with the errors of its stages, rules and arms. The
	// errors hold no user id and no text. It must not block. nil: the errors are dropped.
	OnRanked func(*Request, *Response, []error)
}

// Pipeline ranks candidates. It keeps no ranking state between requests and is safe for concurrent
// use.
type Pipeline struct {
	opt Options
	// Calls into dependencies that may hang, by stage.
	features, vectors, scorer *stageCalls

	unshown atomic.Uint64 // see Unshown
}

// New returns a pipeline over the given parts. It returns an error if a required part is missing or
// an option is out of its range.
func New(opt Options) (*Pipeline, error) {
	if opt.Features == nil || opt.Models == nil {
		return nil, errors.New("ranker.New: Options.Features and Options.Models must be set")
	}
	if !(opt.LogFeatures >= 0 && opt.LogFeatures <= 1) {
		return nil, fmt.Errorf("ranker.New: Options.LogFeatures is %g; choose a share from 0 to 1",
			opt.LogFeatures)
	}
	if opt.MaxAbandoned < 0 {
		return nil, fmt.Errorf("ranker.New: Options.MaxAbandoned is %d; "+
			"choose 1 or more, or 0 for the default %d", opt.MaxAbandoned, DefaultMaxAbandoned)
	}
	if opt.MaxAbandoned == 0 {
		opt.MaxAbandoned = DefaultMaxAbandoned
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	return &Pipeline{
		opt:      opt,
		features: newStageCalls(StageFeatures, opt.MaxAbandoned),
		vectors:  newStageCalls(StageVectors, opt.MaxAbandoned),
		scorer:   newStageCalls(StageScorer, opt.MaxAbandoned),
	}, nil
}

// Rank answers one request.
//
// It fails only if the request names a model that is not loaded (ErrUnknownModel). Any other
// failure costs quality, never the answer: the stage falls back to something cheaper, and
// Response.Degraded says so. Every candidate that the rules and the limit leave is in the answer
// exactly once. If ctx has ended, the answer is not recorded, because its caller has gone.
//
// Each step takes values and returns a value that nobody changes afterwards. Only run is written by
// several steps: it collects timings, errors and degradations.
func (p *Pipeline) Rank(ctx context.Context, req *Request) (*Response, error) {
	parallel.Enter()
	defer parallel.Leave()
	run := newRun(req, p.opt.Clock)
	defer run.releaseModels()
	pl, err := p.assign(ctx, run) // experiment arms -> model, rules, text on or off
	if err != nil {
		return nil, err
	}
	caller := ctx
	ctx, cancel := run.withDeadline(ctx, pl.deadline)
	defer cancel()

	in := p.gather(ctx, run, pl)   // user and item state, text vectors
	s := p.score(ctx, run, pl, in) // feature matrix, one score for each candidate
	ranked := p.order(ctx, run, s) // sorted; then the rules: filter, boost, …
	if ranked.plan.interleaves() {
		ranked = p.interleave(ctx, run, ranked) // score and order for the second arm, then merge
	}
	explanations := p.explain(ctx, run, ranked)
	resp := newResponse(run, ranked, explanations)
	p.record(caller, run, ranked, resp)
	if p.opt.OnRanked != nil {
		p.opt.OnRanked(req, resp, run.errs)
	}
	return resp, nil
}

// Matrix returns the feature matrix that model would score for req, and the inputs that it was
// assembled from. Training reads it. It takes the same path as Rank and scores nothing. What Rank
// would name in Response.Degraded is an error here: it wraps ErrIncompleteMatrix.
func (p *Pipeline) Matrix(
	ctx context.Context, model *Model, req *Request,
) (*Matrix, *SignalInput, error) {
	run := newRun(req, p.opt.Clock)
	ctx, cancel := run.withDeadline(ctx, run.deadline)
	defer cancel()
	in := p.gather(ctx, run, plan{model: model})
	blocks, errs := computeSignals(ctx, model.Signals, in.signals)
	if errs = append(run.errs, errs...); len(errs) > 0 || len(run.degraded) > 0 {
		return nil, nil, fmt.Errorf("%w (%v): %w",
			ErrIncompleteMatrix, run.degraded, errors.Join(errs...))
	}
	return Assemble(model.Schema, req, in.state, model.Signals, blocks), in.signals, nil
}

// Stats returns how many calls each stage has abandoned, in the order of the stages.
func (p *Pipeline) Stats() []StageStats {
	return []StageStats{p.features.stats(), p.vectors.stats(), p.scorer.stats()}
}

// Unshown returns how many answers were not recorded because their caller had gone.
func (p *Pipeline) Unshown() uint64 { return p.unshown.Load() }

// Close waits until no stage call runs any more, abandoned ones included, or until ctx ends. Call
// it at shutdown, after the last Rank has returned and before Features, Vectors and Models are
// closed. It returns an error that names the stages whose calls still run.
func (p *Pipeline) Close(ctx context.Context) error {
	return errors.Join(p.features.wait(ctx), p.vectors.wait(ctx), p.scorer.wait(ctx))
}
