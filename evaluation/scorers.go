package evaluation

import (
	"context"
	"fmt"
	"slices"

	"relish/features/event"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/replay"
)

// pipelineScorer scores through the whole online path.
type pipelineScorer struct {
	name     string
	pipeline *ranker.Pipeline
}

// NewPipelineScorer returns a scorer that ranks through p, the code that serves. p must not record
// anything. A degraded answer is an error, since it would not measure the model.
func NewPipelineScorer(name string, p *ranker.Pipeline) Scorer { return &pipelineScorer{name, p} }

func (s *pipelineScorer) Name() string { return s.name }

func (s *pipelineScorer) Score(ctx context.Context, ex *replay.Example) ([]float64, error) {
	req := *ex.Request
	req.Deadline = replay.OfflineDeadline
	resp, err := s.pipeline.Rank(ctx, &req)
	if err != nil {
		return nil, err
	}
	if len(resp.Degraded) > 0 {
		return nil, fmt.Errorf("the answer is degraded (%v) and would not measure the model",
			resp.Degraded)
	}
	byID := make(map[string]float64, len(resp.Items))
	for _, it := range resp.Items {
		byID[it.ID] = it.Score
	}
	out := make([]float64, len(ex.Request.Candidates))
	for i, cand := range ex.Request.Candidates {
		score, ok := byID[cand.ID]
		if !ok {
			return nil, fmt.Errorf("candidate %d is missing from the answer; "+
				"a rule or a limit must have removed it", i)
		}
		out[i] = score
	}
	return out, nil
}

// TextOnlyModel returns a baseline model for the pipeline that ranks by text alone: the cosine of a
// candidate's text to the recency-weighted mean of the user's history (text.mean of package
// signals). An item without text and a user without history score 0.
func TextOnlyModel() (*ranker.Model, error) {
	zero := 0.0
	similarity := signals.TextSimilarity{}
	column := similarity.Columns()[0]
	schema, err := ranker.NewSchema([]ranker.Feature{
		{Name: column, Kind: ranker.KindSignal, Column: column, Default: &zero},
	})
	if err != nil {
		return nil, err
	}
	return &ranker.Model{
		Version: "text only",
		Schema:  schema,
		Signals: []ranker.Signal{similarity},
		Scorer:  singleColumn{},
	}, nil
}

// singleColumn scores by the only column of the feature matrix.
type singleColumn struct{}

// Score implements ranker.Scorer.
func (singleColumn) Score(m *ranker.Matrix, out []float64) error {
	for i := range out {
		out[i] = float64(m.Row(i)[0])
	}
	return nil
}

// Explain implements ranker.Scorer.
func (singleColumn) Explain(m *ranker.Matrix, row int, out []float64) (base float64, err error) {
	out[0] = float64(m.Row(row)[0])
	return 0, nil
}

// popularityCounts is what the built-in baselines know. It counts on its own, so that the baselines
// are independent of the code that they are compared with. It observes the same records as the
// feature state and freezes with it.
type popularityCounts struct {
	clicks, shown           map[string]float64 // by item
	userInteractions        map[string]int     // by user
	totalClicks, totalShown float64
}

func newPopularityCounts() *popularityCounts {
	return &popularityCounts{
		clicks:           map[string]float64{},
		shown:            map[string]float64{},
		userInteractions: map[string]int{},
	}
}

// Observe implements replay.Observer.
func (c *popularityCounts) Observe(rec *event.Record) {
	switch e := &rec.Event; e.Kind {
	case ranker.EventImpression:
		for _, id := range e.Impression.Items {
			c.shown[id]++
			c.totalShown++
		}
	case ranker.EventInteraction:
		c.clicks[e.ItemID]++
		c.totalClicks++
		c.userInteractions[e.UserID]++
	}
}

// clickRatePrior is the prior strength of the click-rate baseline, in impressions. Values from 0.5
// to 40 make no difference to its NDCG.
const clickRatePrior = 10

// clickRate returns an item's smoothed clicks per impression.
func (c *popularityCounts) clickRate(id string) float64 {
	mean := 0.0
	if c.totalShown > 0 {
		mean = c.totalClicks / c.totalShown
	}
	return (c.clicks[id] + clickRatePrior*mean) / (c.shown[id] + clickRatePrior)
}

// baseline is a scorer of one candidate at a time.
type baseline struct {
	name  string
	score func(position int, id string) float64
}

func (b *baseline) Name() string { return b.name }

func (b *baseline) Score(_ context.Context, ex *replay.Example) ([]float64, error) {
	out := make([]float64, len(ex.Request.Candidates))
	for i, cand := range ex.Request.Candidates {
		out[i] = b.score(i, cand.ID)
	}
	return out, nil
}

// The built-in baselines that a useful model is not worse than. The logged order is none of them:
// it profits from its position.
const (
	Popularity    = "popularity"      // interactions so far
	LiveClickRate = "live click rate" // smoothed clicks per impression so far
)

// PlainBaselines returns the names of those built-in baselines that a useful model is not worse
// than and that the log can feed.
func (s *TestSet) PlainBaselines() (names []string) {
	for _, b := range s.baselines(newPopularityCounts()) {
		if b.Name() == Popularity || b.Name() == LiveClickRate {
			names = append(names, b.Name())
		}
	}
	return names
}

// baselines returns the plain scorers that a useful model must beat: random order, the logged
// order, popularity (interactions so far) and the smoothed live click rate.
//
// A baseline that the log cannot feed is left out: the logged order of lists that nobody was shown,
// the click rate without impressions, and everything but random if the items' behaviour is hidden.
func (s *TestSet) baselines(counts *popularityCounts) []Scorer {
	random := func(int, string) float64 { return 0 } // ties are broken at random
	out := []Scorer{&baseline{"random", random}}
	if s.opt.IsHidden != nil {
		return out
	}
	isSampled := func(l replay.RankingList) bool { return !l.Logged }
	if !slices.ContainsFunc(s.lists, isSampled) {
		logged := func(position int, _ string) float64 { return -float64(position) }
		out = append(out, &baseline{LoggedOrder, logged})
	}
	popularity := func(_ int, id string) float64 { return counts.clicks[id] }
	out = append(out, &baseline{Popularity, popularity})
	if s.hasEarlierImpressions() {
		rate := func(_ int, id string) float64 { return counts.clickRate(id) }
		out = append(out, &baseline{LiveClickRate, rate})
	}
	return out
}

// hasEarlierImpressions reports whether scorers see an impression before the last list.
func (s *TestSet) hasEarlierImpressions() bool {
	known := s.lists[0].Seq
	if s.opt.Prequential {
		known = s.lists[len(s.lists)-1].Seq
	}
	return len(s.Log.Lists) > 0 && s.Log.Lists[0].Seq < known
}
