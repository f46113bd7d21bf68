package bundle

import (
	"context"
	"fmt"
	"slices"

	"relish/ranker"
)

// Bounds of probe.bin. A few rankings are enough to tell whether a bundle gives the scores that it
// gave where it was trained.
const (
	MaxProbeCases      = 8
	MaxProbeCandidates = 32
	maxProbeHistory    = ranker.MaxHistory
	maxProbeDim        = 8192
	maxProbeColumns    = 1 << 14
	maxProbeBytes      = 64 << 20
)

// ProbeCase is one ranking that was recorded when the bundle was trained.
type ProbeCase struct {
	// Input is what the signals read. Its State.Columns are as ranker.StateReader filled them,
	// before Assemble. Candidate parts that apply to one request only are merged into State.Items.
	Input  ranker.SignalInput
	Scores []float64 // one per candidate
}

// RecordProbe scores the input's first MaxProbeCandidates candidates with the model, and returns
// them with their scores. It does not change the input; the case shares its items and vectors.
func RecordProbe(ctx context.Context, m *ranker.Model, in *ranker.SignalInput) (ProbeCase, error) {
	all := len(in.Request.Candidates)
	n := min(all, MaxProbeCandidates)
	if n == 0 || len(in.State.Items) != all || len(in.ItemVectors) != all {
		return ProbeCase{}, fmt.Errorf("probe: %d candidates, %d items and %d vectors; there "+
			"must be as many of each, and at least one",
			all, len(in.State.Items), len(in.ItemVectors))
	}
	request, state := *in.Request, *in.State
	request.List = nil
	request.Candidates, state.Items = slices.Clone(request.Candidates[:n]), state.Items[:n]
	state.Counts = state.Counts[:min(n, len(state.Counts))]
	for i := range request.Candidates {
		request.Candidates[i].Inline = nil // State.Items has it
	}
	state.Columns = state.Columns[:min(n*len(m.Schema.Columns()), len(state.Columns))]
	c := ProbeCase{Input: ranker.SignalInput{
		Request:       &request,
		State:         &state,
		Now:           in.Now,
		ItemVectors:   in.ItemVectors[:n],
		RecentVectors: in.RecentVectors,
		Query:         in.Query,
		QueryVector:   in.QueryVector,
	}}
	_, scores, err := scoreInput(ctx, m, &c.Input)
	if err != nil {
		return ProbeCase{}, fmt.Errorf("probe: %w", err)
	}
	c.Scores = scores
	return c, nil
}
