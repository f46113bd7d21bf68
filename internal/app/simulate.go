package app

import (
	"context"
	"log/slog"

	"relish/features/embedded"
	"relish/internal/config"
	"relish/internal/demo"
	"relish/internal/stats"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training"
	"relish/training/replay"
)

// Simulation lets the simulated users of the demo come back, and measures how good the rankings are
// that they would get. All fields but Bundles are required.
type Simulation struct {
	Data    string
	Bundles string // folder of the bundles; empty: "bundles" in the data folder
	Encoder EncoderOptions
	Config  *config.Config
	World   demo.Options // the world that the data folder was filled from
	Visits  int
	Log     *slog.Logger
}

// ClickShare says how close a ranker comes to the best order, which only the simulator knows.
type ClickShare struct {
	Ranker string `json:"ranker"`
	// Share is the expected clicks divided by those of the best order, 0 to 1, over visits.
	Share stats.Interval `json:"share"`
}

// Run ranks every visit by a random order, by the prior and by the active bundle, and compares the
// expected clicks. It reads the data folder without writing to it.
func (s *Simulation) Run(ctx context.Context) ([]ClickShare, error) {
	s.Config.State.Text = s.Config.Text
	state, err := embedded.LoadState(s.Data, s.Config.State)
	if err != nil {
		return nil, err
	}
	opt := ranker.Options{Features: training.ReplayedState{State: state}, TextSpec: s.Config.Text}
	digest := ""
	var finetuned *finetunedVectors
	if !s.Encoder.NoText {
		encoder, err := s.Encoder.Load(s.Log)
		if err != nil {
			return nil, err
		}
		defer encoder.Close()
		digest = encoder.Digest()
		vectors, err := s.Encoder.openVectors(s.Data, encoder, s.Log)
		if err != nil {
			return nil, err
		}
		defer vectors.Close(ctx)
		opt.Vectors = vectors
		if finetuned, err = s.Encoder.openFinetuned(s.Data, encoder); err != nil {
			return nil, err
		}
		defer finetuned.close(ctx)
	}
	visits := newVisits(demo.New(s.World), s.Visits, s.World.Seed)
	random, err := visits.randomShare()
	if err != nil {
		return nil, err
	}
	shares := []ClickShare{{"chance", random}}
	for _, version := range []string{ranker.PriorVersion, ""} {
		model, _, err := loadModel(BundleFolder(s.Bundles, s.Data), version, digest, finetuned,
			s.Config)
		if err != nil {
			return nil, err
		}
		if version == "" && model.Version == ranker.PriorVersion {
			continue // no bundle is active
		}
		opt.Models = scorer.SingleModel(model)
		share, err := visits.share(ctx, opt)
		if err != nil {
			return nil, err
		}
		shares = append(shares, ClickShare{model.Version, share})
	}
	return shares, nil
}

// visits are simulated visits with the expected clicks of their best orders.
type visits struct {
	world *demo.World
	all   []demo.Visit
	best  []float64
}

func newVisits(world *demo.World, n int, seed uint64) *visits {
	v := &visits{world: world, all: world.Visits(n, seed)}
	for _, visit := range v.all {
		best := world.BestOrder(visit.User, visit.Items)
		v.best = append(v.best, world.ExpectedClicks(visit.User, best))
	}
	return v
}

// randomShare is the share of the best order's clicks that a random order gets.
func (v *visits) randomShare() (stats.Interval, error) {
	shares := make([]float64, len(v.all))
	for i, visit := range v.all {
		shares[i] = v.world.RandomOrderClicks(visit.User, visit.Items) / v.best[i]
	}
	return stats.Bootstrap(shares, 1)
}

// share is the share of the best order's clicks that a pipeline with these options gets.
func (v *visits) share(ctx context.Context, opt ranker.Options) (stats.Interval, error) {
	pipeline, err := ranker.New(opt)
	if err != nil {
		return stats.Interval{}, err
	}
	shares := make([]float64, len(v.all))
	for i, visit := range v.all {
		req := &ranker.Request{User: visit.User, Time: visit.Time, Deadline: replay.OfflineDeadline}
		for _, id := range visit.Items {
			req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
		}
		resp, err := pipeline.Rank(ctx, req)
		if err != nil {
			return stats.Interval{}, err
		}
		order := make([]string, len(resp.Items))
		for k, item := range resp.Items {
			order[k] = item.ID
		}
		shares[i] = v.world.ExpectedClicks(visit.User, order) / v.best[i]
	}
	return stats.Bootstrap(shares, 1)
}
