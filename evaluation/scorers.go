package evaluation

import (
	"context"
	"fmt"

	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/replay"
)

// pipelineScorer scores through the whole online path.
type pipelineScorer struct {
	name     string
	pipeline *ranker.Pipeline
}

// NewPipelineScorer returns a scorer that ranks through p, the path that serves; p must write nothing
// (its requests carry a time).
func NewPipelineScorer(name string, p *ranker.Pipeline) Scorer { return &pipelineScorer{name, p} }

func (s *pipelineScorer) Name() string { return s.name }

func (s *pipelineScorer) Score(ctx context.Context, c *replay.Example) ([]float64, error) {
	req := *c.Request
	req.Deadline = replay.OfflineDeadline
	resp, err := s.pipeline.Rank(ctx, &req)
	if err != nil {
		return nil, err
	}
	if len(resp.Degraded) > 0 {
		return nil, fmt.Errorf("the ranking was degraded (%v): it would not measure the model", resp.Degraded)
	}
	byID := make(map[string]float64, len(resp.Items))
	for _, it := range resp.Items {
		byID[it.ID] = it.Score
	}
	out := make([]float64, len(c.Request.Candidates))
	for i, cand := range c.Request.Candidates {
		score, ok := byID[cand.ID]
		if !ok {
			return nil, fmt.Errorf("candidate %d is missing in the answer", i)
		}
		out[i] = score
	}
	return out, nil
}

// TextOnlyModel is the plain baseline of text, as a model for the pipeline: the cosine of a candidate's text to the
// recency-weighted mean of the user's history (text.mean of package match), and nothing else. What has no text, or whose
// user has no history, gets 0.
func TextOnlyModel() (*ranker.Model, error) {
	zero := 0.0
	m := signals.TextSimilarity{}
	column := m.Columns()[0]
	schema, err := ranker.NewSchema([]ranker.Feature{{Name: column, Kind: ranker.KindSignal, Column: column, Default: &zero}})
	if err != nil {
		return nil, err
	}
	return &ranker.Model{Version: "text only", Schema: schema, Signals: []ranker.Signal{m}, Scorer: singleColumn{}}, nil
}

// singleColumn is the blend of a matrix of one column: its value.
type singleColumn struct{}

// Score implements ranker.Blend.
func (singleColumn) Score(m *ranker.Matrix, out []float64) error {
	for i := range out {
		out[i] = float64(m.Row(i)[0])
	}
	return nil
}

// Explain implements ranker.Blend.
func (singleColumn) Explain(m *ranker.Matrix, row int, out []float64) (base float64, err error) {
	out[0] = float64(m.Row(row)[0])
	return 0, nil
}
