package app

import (
	"context"
	"log/slog"

	"relish/embeddings/onnx"
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
	// Versions are the bundles to measure beside the prior; empty: the active one, if there is one.
	Versions []string
	Log      *slog.Logger
}

// ClickShare says how close a ranker comes to the best order, which only the simulator knows: the
// order by the true click probability.
type ClickShare struct {
	Ranker string `json:"ranker"`
	// Share is the expected clicks divided by those of the best order, 0 to 1, over visits.
	Share stats.Interval `json:"share"`
	// Reached is the part of the way from the prior (0) to the best order (1) that a bundle has
	// gone: what it gains over the prior's expected clicks, divided by what the best order gains,
	// each summed over visits. It is nil for chance and the prior.
	Reached *stats.Interval `json:"reached,omitempty"`
}

// Run ranks every visit by a random order, by the prior and by the bundles, and compares the
// expected clicks. It reads the data folder without writing to it.
func (s *Simulation) Run(ctx context.Context) ([]ClickShare, error) {
	s.Config.State.Text, s.Encoder.Data = s.Config.Text, s.Data
	state, err := embedded.LoadState(s.Data, s.Config.State)
	if err != nil {
		return nil, err
	}
	opt := ranker.Options{Features: training.ReplayedState{State: state}, TextSpec: s.Config.Text}
	var encoder *onnx.Encoder
	var finetuned *finetunedVectors
	if !s.Encoder.NoText {
		if encoder, err = s.Encoder.Load(ctx, s.Log); err != nil {
			return nil, err
		}
		defer encoder.Close()
		vectors, err := s.Encoder.openVectors(s.Data, encoder, s.Log)
		if err != nil {
			return nil, err
		}
		defer vectors.Close(ctx)
		opt.Vectors = vectors
		if finetuned, err = s.Encoder.openFinetuned(s.Data, encoder, s.Log); err != nil {
			return nil, err
		}
		defer finetuned.close(ctx)
	}
	return s.compare(ctx, opt, func(version string) (*ranker.Model, error) {
		folder := BundleFolder(s.Bundles, s.Data)
		model, _, err := loadModel(ctx, folder, version, encoder, finetuned, s.Config)
		return model, err
	})
}

// compare returns the expected clicks by a random order, by the prior and by the bundles, which
// load returns by version.
func (s *Simulation) compare(
	ctx context.Context, opt ranker.Options, load func(version string) (*ranker.Model, error),
) ([]ClickShare, error) {
	visits := newVisits(demo.New(s.World), s.Visits, s.World.Seed)
	random, err := visits.share(visits.randomClicks())
	if err != nil {
		return nil, err
	}
	shares := []ClickShare{{Ranker: "chance", Share: random}}
	var priorClicks []float64
	versions := s.Versions
	if len(versions) == 0 {
		versions = []string{""}
	}
	for _, version := range append([]string{ranker.PriorVersion}, versions...) {
		model, err := load(version)
		if err != nil {
			return nil, err
		}
		if version == "" && model.Version == ranker.PriorVersion {
			continue // no bundle is active
		}
		opt.Models = scorer.SingleModel(model)
		clicks, err := visits.clicks(ctx, opt)
		if err != nil {
			return nil, err
		}
		row := ClickShare{Ranker: model.Version}
		if row.Share, err = visits.share(clicks); err != nil {
			return nil, err
		}
		if priorClicks == nil {
			priorClicks = clicks
		} else if row.Reached, err = visits.reached(clicks, priorClicks); err != nil {
			return nil, err
		}
		shares = append(shares, row)
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

// randomClicks returns the expected clicks of a random order, by visit.
func (v *visits) randomClicks() []float64 {
	clicks := make([]float64, len(v.all))
	for i, visit := range v.all {
		clicks[i] = v.world.RandomOrderClicks(visit.User, visit.Items)
	}
	return clicks
}

// clicks returns the expected clicks of the orders by a pipeline with these options, by visit.
func (v *visits) clicks(ctx context.Context, opt ranker.Options) ([]float64, error) {
	pipeline, err := ranker.New(opt)
	if err != nil {
		return nil, err
	}
	clicks := make([]float64, len(v.all))
	for i, visit := range v.all {
		req := &ranker.Request{User: visit.User, Time: visit.Time, Deadline: replay.OfflineDeadline}
		for _, id := range visit.Items {
			req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
		}
		resp, err := pipeline.Rank(ctx, req)
		if err != nil {
			return nil, err
		}
		order := make([]string, len(resp.Items))
		for k, item := range resp.Items {
			order[k] = item.ID
		}
		clicks[i] = v.world.ExpectedClicks(visit.User, order)
	}
	return clicks, nil
}

// share returns clicks as a share of the best orders' clicks, in the mean over visits.
func (v *visits) share(clicks []float64) (stats.Interval, error) {
	shares := make([]float64, len(clicks))
	for i, c := range clicks {
		shares[i] = c / v.best[i]
	}
	return stats.Bootstrap(shares, 1)
}

// reached returns ClickShare.Reached. Its interval is that of the ratio's linear approximation.
func (v *visits) reached(clicks, prior []float64) (*stats.Interval, error) {
	gained, possible := 0.0, 0.0
	for i := range clicks {
		gained, possible = gained+clicks[i]-prior[i], possible+v.best[i]-prior[i]
	}
	ratio, perVisit := gained/possible, possible/float64(len(clicks))
	values := make([]float64, len(clicks))
	for i := range clicks {
		values[i] = ratio + (clicks[i]-prior[i]-ratio*(v.best[i]-prior[i]))/perVisit
	}
	interval, err := stats.Bootstrap(values, 1)
	return &interval, err
}
