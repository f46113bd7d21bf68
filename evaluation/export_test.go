package evaluation

import (
	"context"

	"relish/features"
	"relish/training/replay"
)

// Run builds a test set and measures the models on it: NewTestSet followed by TestSet.Run.
func Run(
	ctx context.Context, src replay.Source, state *features.State, opt Options, models ...Scorer,
) (*Table, error) {
	s, err := NewTestSet(ctx, src, state.Config(), opt)
	if err != nil {
		return nil, err
	}
	return s.Run(ctx, state, Scorers{Models: models})
}
