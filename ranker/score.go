package ranker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"relish/internal/parallel"
)

// scored is the candidates with a score each.
type scored struct {
	plan    plan // in effect when the scores were computed
	inputs  inputs
	model   *Model  // that scored; nil if none could, and the scores keep the order of the request
	matrix  *Matrix // every column, as the impression records it; nil without a model
	visible *Matrix // what the scorer read: without text columns if the plan says so
	scores  []float64
}

// score scores the candidates by the plan's model. If that fails, it tries control's model for an
// arm's, then the fallback models, then keeps the order of the request.
func (p *Pipeline) score(ctx context.Context, run *run, pl plan, in inputs) scored {
	result, err := p.scoreOrReport(ctx, run, pl, in)
	for err != nil && run.req.Model == "" {
		next, changed := pl.fallBack(run, PartModel|PartScorer, err)
		if !changed {
			break
		}
		run.degrade(ScorerFallback)
		if pl, err = p.selectModel(run, next); err == nil {
			in = p.gather(ctx, run, pl)
			result, err = p.scoreOrReport(ctx, run, pl, in)
		}
	}
	if err == nil {
		return result
	}
	run.degrade(ScorerFallback)
	for _, version := range p.opt.Models.Fallbacks(pl.model.Version) {
		m, err := p.acquire(run, version)
		if err != nil {
			continue // it was retired just now
		}
		pl.model = m
		in = p.gather(ctx, run, pl)
		if result, err = p.scoreOrReport(ctx, run, pl, in); err == nil {
			return result
		}
	}
	run.degrade(InputOrder)
	scores := make([]float64, len(run.req.Candidates))
	for i := range scores {
		scores[i] = -float64(i)
	}
	return scored{plan: pl, inputs: in, scores: scores}
}

// scoreOrReport is scoreOnce; it also reports the error to run.
func (p *Pipeline) scoreOrReport(
	ctx context.Context, run *run, pl plan, in inputs,
) (scored, error) {
	result, err := p.scoreOnce(ctx, run, pl, in)
	if err != nil {
		err = fmt.Errorf("model %s: %w", in.model.Version, err)
		run.errs = append(run.errs, err)
	}
	return result, err
}

// scoring is the scored candidates, what went wrong in the signals, and the times.
type scoring struct {
	scored
	signalErrs             []error
	signalsTook, modelTook time.Duration
}

// scoreOnce computes the signals, assembles the matrix and scores it, for the model of the inputs.
//
// Signals and scorer share one goroutine, because handing over to another costs as much as a
// signal. It is the request's own if the whole model works in memory.
func (p *Pipeline) scoreOnce(
	ctx context.Context, run *run, pl plan, in inputs,
) (_ scored, err error) {
	req, model := run.req, in.model
	var got scoring
	if model.inMemory() && ctx.Err() == nil && run.leavesTimeFor(len(in.state.Items), scorerUntil) {
		err = parallel.Catch(func() (err error) {
			got, err = computeScores(ctx, req, pl, in)
			return err
		})
	} else {
		signalsEnd := run.until(signalsUntil)
		ctx, cancel := run.stage(ctx, scorerUntil)
		defer cancel()
		got, err = runStage(ctx, p.scorer, model, func(ctx context.Context) (scoring, error) {
			ctx, cancel := context.WithDeadline(ctx, signalsEnd)
			defer cancel()
			return computeScores(ctx, req, pl, in)
		})
	}
	if time.Now().After(run.until(inTime)) && !run.waited {
		run.short = true
	}
	run.errs = append(run.errs, got.signalErrs...)
	if len(got.signalErrs) > 0 {
		run.degrade(ScorerFallback)
	}
	run.timings = append(run.timings,
		Timing{StageSignals, got.signalsTook}, Timing{StageScorer, got.modelTook})
	return got.scored, err
}

// computeScores is scoreOnce's work. It writes to nothing of the request. The signals should return
// when ctx ends.
func computeScores(
	ctx context.Context, req *Request, pl plan, in inputs,
) (out scoring, err error) {
	model, start := in.model, time.Now()
	blocks, errs := computeSignals(ctx, model.Signals, in.signals)
	out.signalErrs, out.signalsTook = errs, time.Since(start)
	start = time.Now()
	matrix := Assemble(model.Schema, req, in.state, model.Signals, blocks)
	visible := matrix
	if !pl.arm.Text {
		visible = matrix.withoutGroup(GroupText)
	}
	scores := make([]float64, matrix.N)
	if err := model.Scorer.Score(visible, scores); err != nil {
		return out, err
	}
	for _, x := range scores {
		if x-x != 0 { // NaN or infinite
			return out, errors.New("a score is not finite")
		}
	}
	out.scored = scored{pl, in, model, matrix, visible, scores}
	out.modelTook = time.Since(start)
	return out, nil
}

// minParallelSignals is the number of candidates from which the signals run on several processors,
// if one is idle. For fewer, waking another processor takes longer than the signals.
const minParallelSignals = 200

// computeSignals runs the signals. blocks is aligned with signals; the block of one that fails is
// nil, so its columns are missing, and errs says why.
func computeSignals(
	ctx context.Context, signals []Signal, in *SignalInput,
) (blocks [][]float32, errs []error) {
	blocks, errs = make([][]float32, len(signals)), make([]error, len(signals))
	compute := func(k int) {
		s := signals[k]
		block := make([]float32, len(in.ItemVectors)*len(s.Columns()))
		if err := parallel.Catch(func() error { return s.Compute(ctx, in, block) }); err != nil {
			errs[k] = fmt.Errorf("signal %v: %w", s.Columns(), err)
			return
		}
		blocks[k] = block
	}
	if len(in.ItemVectors) >= minParallelSignals && parallel.HasIdle() {
		parallel.Each(len(signals), compute)
	} else {
		for k := range signals {
			compute(k)
		}
	}
	return blocks, slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}
