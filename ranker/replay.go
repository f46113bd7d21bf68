package ranker

import (
	"context"
	"errors"
	"fmt"
)

// ErrIncompleteMatrix is a matrix that lacks something: it would not be what a model is trained on.
var ErrIncompleteMatrix = errors.New("the feature matrix lacks something")

// Matrix makes the feature matrix that model would score for req, and scores nothing: what training reads. It is
// the path that Rank takes; anything missing that Rank would name in Degraded is an error here. It also
// returns what the matrix was made of.
func (p *Pipeline) Matrix(ctx context.Context, model *Model, req *Request) (*Matrix, *SignalInput, error) {
	r := p.begin(req)
	ctx, cancel := context.WithDeadline(ctx, r.start.Add(r.deadline))
	defer cancel()
	r.readState(ctx, model.Schema)
	in := r.matchInput(ctx, model)
	blocks, errs := match(ctx, r.start.Add(r.deadline), model.Signals, in)
	if errs = append(r.errs, errs...); len(errs) > 0 || len(r.resp.Degraded) > 0 {
		return nil, nil, fmt.Errorf("%w (%v): %w", ErrIncompleteMatrix, r.resp.Degraded, errors.Join(errs...))
	}
	return Assemble(model.Schema, req, r.state, model.Signals, blocks), in, nil
}
