package bundle

import (
	"context"
	"errors"
	"fmt"

	"relish/ranker"
)

// Bounds of probe.bin. They are for telling whether a bundle does what it did where it was made; a few lists do.
const (
	MaxProbeCases      = 8
	MaxProbeCandidates = 32
	maxProbeHistory    = 256
	maxProbeDim        = 8192
	maxProbeColumns    = 1 << 14
	maxProbeBytes      = 64 << 20
)

// ProbeCase is one ranking that was recorded when the bundle was made.
type ProbeCase struct {
	// Input is what the matchers saw. Its State.Columns are as Features filled them: Assemble has not seen them. Parts of
	// candidates that hold for one request are merged into State.Items.
	Input  ranker.SignalInput
	Scores []float64 // one per candidate
}

// RecordProbe ranks the input's first MaxProbeCandidates candidates with the model, and returns them with their scores as a case.
// It leaves in as it is; the case shares its items and vectors.
func RecordProbe(ctx context.Context, m *ranker.Model, in *ranker.SignalInput) (ProbeCase, error) {
	n := min(len(in.Request.Candidates), MaxProbeCandidates)
	if n == 0 || len(in.State.Items) != len(in.Request.Candidates) || len(in.ItemVectors) != len(in.Request.Candidates) {
		return ProbeCase{}, errors.New("a probe needs candidates, and items and vectors aligned with them")
	}
	request, state := *in.Request, *in.State
	request.Candidates, state.Items = request.Candidates[:n], state.Items[:n]
	state.Columns = state.Columns[:min(n*len(m.Schema.Columns()), len(state.Columns))]
	c := ProbeCase{Input: ranker.SignalInput{Request: &request, State: &state, Now: in.Now, ItemVectors: in.ItemVectors[:n],
		RecentVectors: in.RecentVectors, Query: in.Query, QueryVector: in.QueryVector}}
	_, scores, err := scoreInput(ctx, m, &c.Input)
	if err != nil {
		return ProbeCase{}, fmt.Errorf("probe: %w", err)
	}
	c.Scores = scores
	return c, nil
}
