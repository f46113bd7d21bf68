package main

import (
	"context"
	"fmt"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/evaluation"
	"relish/features"
	"relish/features/external"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training"
)

type evaluateCmd struct {
	dataFlags
	bundleFlags
	encoderFlags
	logFlags
	Bundle      string   `help:"Version of the bundle to measure, or prior. Default: the active one." placeholder:"VERSION"`
	Last        float64  `help:"The newest share of the lists (of the interactions where there are no lists) that is scored." default:"0.1"`
	Prequential bool     `help:"Rank each list, then feed its clicks: what a live server would have done. Without it the state stands still where the scored part begins."`
	InSample    bool     `help:"Measure a bundle also on what it was trained on; the table says so."`
	HideItems   float64  `help:"The cold-item experiment: hide what was done with this share of the items, train without it on what came before the scored part, and rank among the hidden items." placeholder:"SHARE"`
	Ablate      []string `help:"Train on what came before the scored part, with everything and without each of these matchers, features and groups of features; text stands for all reading of text." placeholder:"NAME"`
	K           int      `help:"The K of NDCG@K, MAP@K and HR@K." default:"10"`
	Negatives   int      `help:"Sampled negatives per list where the log has no impressions." default:"19"`
	Seed        uint64   `help:"Seed of ties, negatives, hidden items and intervals." default:"1"`
	OnPolicyLog bool     `help:"Estimate from logged propensities what the policy would have earned on the scored lists: IPS, SNIPS and doubly robust, on the first K places." name:"on-policy-log"`
	Policy      string   `help:"With --on-policy-log: version of the bundle, or prior. Default: the active one." placeholder:"VERSION"`
	JSON        bool     `help:"Print everything as JSON: all slices, intervals, comparisons and calibration."`
}

func (c *evaluateCmd) check() error {
	switch {
	case c.HideItems < 0 || c.HideItems >= 1:
		return fmt.Errorf("%w: --hide-items %g: it is a share above 0 and below 1", errUsage, c.HideItems)
	case c.HideItems > 0 && len(c.Ablate) > 0:
		return fmt.Errorf("%w: --hide-items and --ablate are two experiments: run one after the other", errUsage)
	case c.trains() && (c.Bundle != "" || c.InSample):
		return fmt.Errorf("%w: --hide-items and --ablate train bundles of their own: leave out --bundle and --in-sample", errUsage)
	case c.OnPolicyLog && c.trains():
		return fmt.Errorf("%w: --on-policy-log estimates a bundle that is there: leave out --hide-items and --ablate", errUsage)
	case c.Policy != "" && !c.OnPolicyLog:
		return fmt.Errorf("%w: --policy says what --on-policy-log estimates; --bundle says what is measured", errUsage)
	}
	return nil
}

// trains reports whether the command measures models that it trains itself.
func (c *evaluateCmd) trains() bool { return c.HideItems > 0 || len(c.Ablate) > 0 }

// Run reads the log beside a running server and prints the table.
func (c *evaluateCmd) Run(ctx context.Context, cfg *config.Config) error {
	if err := c.check(); err != nil {
		return err
	}
	l, err := c.openLab(cfg)
	if err != nil {
		return err
	}
	defer l.close()
	if c.OnPolicyLog {
		return c.estimate(ctx, l)
	}
	part, err := evaluation.NewTestSet(ctx, logSource(c.Data), cfg.State, c.options(l))
	if err != nil {
		return err
	}
	contest, err := c.contest(ctx, part, l)
	if err != nil {
		return err
	}
	t, err := part.Run(ctx, l.state, contest)
	l.progress.end()
	if err != nil {
		return err
	}
	out := evaluationResult{Model: l.model, Last: c.Last, Prequential: c.Prequential, InSample: l.inSample, HideItems: c.HideItems, Ablate: c.Ablate, Table: t}
	if c.JSON {
		return printJSON(out)
	}
	out.print()
	return nil
}

func (c *evaluateCmd) options(l *lab) evaluation.Options {
	train := l.cfg.Train
	opt := evaluation.Options{TestShare: c.Last, Prequential: c.Prequential, K: c.K, Gains: train.Gains, FollowUp: int64(train.FollowUpHours * msPerHour),
		Negatives: c.Negatives, Seed: c.Seed, Vectors: ranksWith(l.vectors), Progress: func(done, total int) { l.progress.set(done, total) }}
	if c.HideItems > 0 {
		opt.IsHidden = evaluation.SampleItems(c.HideItems, c.Seed)
	}
	return opt
}

const msPerHour = 60 * 60 * 1000

// contest says who is measured: the bundle, or what the experiment trains.
func (c *evaluateCmd) contest(ctx context.Context, part *evaluation.TestSet, l *lab) (contest evaluation.Scorers, err error) {
	if c.trains() {
		if err := l.complete(part); err != nil {
			return contest, err
		}
	}
	switch {
	case c.HideItems > 0:
		contest, err = evaluation.ColdItems(ctx, part, l.train)
	case len(c.Ablate) > 0:
		contest, err = evaluation.Ablate(ctx, part, c.Ablate, l.train)
	default:
		contest, err = c.bundle(part, l)
	}
	if err != nil || l.vectors == nil {
		return contest, err
	}
	text, err := evaluation.TextOnlyModel()
	if err != nil {
		return contest, err
	}
	plain, err := l.scorer(text.Version, text, true)
	contest.Baselines = append(contest.Baselines, plain)
	if err != nil || l.tuned == nil {
		return contest, err
	}
	plain, err = l.scorer(text.Version+", its own encoder", text.WithVectors(l.tuned), true)
	contest.Baselines = append(contest.Baselines, plain)
	return contest, err
}

// bundle is the model with and without its text columns, so that the worth of the text stands in the table.
func (c *evaluateCmd) bundle(part *evaluation.TestSet, l *lab) (contest evaluation.Scorers, err error) {
	model, manifest, err := loadModel(c.root(c.Data), c.Bundle, l.digest(), l.own, l.cfg)
	if err != nil {
		return contest, err
	}
	if manifest != nil && part.Overlaps(manifest.Data.Logs) {
		if l.inSample = true; !c.InSample {
			return contest, fmt.Errorf("bundle %s was trained on a part of what would be scored: its figures would say nothing of new data; train with --holdout %g, score less with --last, or say --in-sample", model.Version, c.Last)
		}
	}
	l.model, l.tuned = model.Version, model.Vectors
	name := "bundle"
	if manifest == nil {
		name = ranker.PriorVersion
	}
	full, err := l.scorer(name, model, true)
	if err != nil {
		return contest, err
	}
	contest.Models = []evaluation.Scorer{full}
	if l.vectors != nil {
		blind, err := l.scorer(name+" without text", model, false)
		if err != nil {
			return contest, err
		}
		contest.Models = append(contest.Models, blind)
		contest.Pairs = []evaluation.Pair{{Scorer: full.Name(), Against: blind.Name()}}
	}
	return contest, nil
}

// lab is what models are measured on.
type lab struct {
	cfg      *config.Config
	cmd      *evaluateCmd
	state    *features.State
	encoder  *onnx.Encoder // nil with --no-text
	vectors  *embeddings.Service
	own      *ownTexts      // of bundles, nil with --no-text
	tuned    ranker.Vectors // of the bundle's own encoder, nil where it has none
	model    string         // the version that is measured, "" in an experiment
	inSample bool           // it has seen what is scored
	progress *progress
}

func (c *evaluateCmd) openLab(cfg *config.Config) (*lab, error) {
	log := c.logger()
	cfg.State.Text = cfg.Text
	l := &lab{cfg: cfg, cmd: c, state: features.New(cfg.State), progress: newProgress("evaluate")}
	l.state.OpenTable = external.Opener(c.Data, log)
	if c.NoText {
		return l, nil
	}
	var err error
	if l.encoder, err = c.loadEncoder(log); err != nil {
		return nil, err
	}
	l.vectors, err = embeddings.New(l.encoder, embeddings.Options{Dir: filepath.Join(c.Data, "vectors"), ReadOnly: true, CacheBytes: c.CacheBytes, Log: log})
	if err != nil {
		l.encoder.Close()
		return nil, err
	}
	l.own, err = c.openOwnTexts(c.Data, l.encoder)
	return l, err
}

func (l *lab) close() {
	l.own.close()
	if l.vectors != nil {
		_ = l.vectors.Close(context.Background()) // it wrote nothing
		l.encoder.Close()
	}
}

func (l *lab) digest() string {
	if l.encoder == nil {
		return ""
	}
	return l.encoder.Digest()
}

// scorer ranks with the model as a server would, with what the walk has replayed so far.
func (l *lab) scorer(name string, m *ranker.Model, text bool) (evaluation.Scorer, error) {
	opt := ranker.Options{Features: training.ReplayedState{State: l.state}, TextSpec: l.cfg.Text}
	if text {
		opt.Vectors = ranksWith(l.vectors)
	} else {
		m = m.WithVectors(nil)
	}
	opt.Models = scorer.SingleModel(m)
	p, err := ranker.New(opt)
	if err != nil {
		return nil, err
	}
	return evaluation.NewPipelineScorer(name, p), nil
}
