package app

import (
	"context"
	"fmt"

	"relish/evaluation"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/training"
)

// scorers returns the models and the baselines that are compared.
func (e *Evaluator) scorers(
	ctx context.Context, test *evaluation.TestSet,
) (s evaluation.Scorers, err error) {
	if e.trains() {
		if err := e.checkVectors(test); err != nil {
			return s, err
		}
	}
	switch {
	case e.opt.HideItems > 0:
		s, err = evaluation.ColdItems(ctx, test, e.train)
	case len(e.opt.Ablate) > 0:
		s, err = evaluation.Ablate(ctx, test, e.opt.Ablate, e.train)
	default:
		s, err = e.bundleScorers(ctx, test)
	}
	if err != nil || e.vectors == nil {
		return s, err
	}
	textOnly, err := evaluation.TextOnlyModel()
	if err != nil {
		return s, err
	}
	baseline, err := e.scorer(textOnly.Version, textOnly, true)
	if err != nil {
		return s, err
	}
	s.Baselines = append(s.Baselines, baseline)
	if e.tuned == nil {
		return s, nil
	}
	name := textOnly.Version + ", fine-tuned encoder"
	baseline, err = e.scorer(name, textOnly.WithVectors(e.tuned), true)
	s.Baselines = append(s.Baselines, baseline)
	return s, err
}

// bundleScorers returns the bundle with and without its text columns. The difference is what the
// text is worth.
func (e *Evaluator) bundleScorers(
	ctx context.Context, test *evaluation.TestSet,
) (s evaluation.Scorers, err error) {
	model, manifest, err := e.loadModel(ctx, e.opt.Bundle)
	if err != nil {
		return s, err
	}
	if manifest != nil {
		unseen, err := e.timeline.UnseenFrom(&manifest.Data)
		if err != nil {
			return s, err
		}
		e.inSample = unseen > test.From
	}
	if e.inSample && !e.opt.InSample {
		return s, fmt.Errorf("bundle %s was trained on lists that would be scored. Train with "+
			"--holdout %g and evaluate again, wait for new events, or pass --in-sample. The "+
			"bundle's model card has figures on lists that its measured training did not see",
			model.Version, e.opt.TestShare)
	}
	e.model, e.tuned = model.Version, model.Vectors
	name := "bundle"
	if manifest == nil {
		name = ranker.PriorVersion
	}
	full, err := e.scorer(name, model, true)
	if err != nil {
		return s, err
	}
	s.Models = []evaluation.Scorer{full}
	if e.vectors != nil {
		textless, err := e.scorer(name+" without text", model, false)
		if err != nil {
			return s, err
		}
		s.Models = append(s.Models, textless)
		s.Pairs = []evaluation.Pair{{Scorer: full.Name(), Against: textless.Name()}}
	}
	return s, nil
}

func (e *Evaluator) loadModel(
	ctx context.Context, version string,
) (*ranker.Model, *bundle.Manifest, error) {
	folder := BundleFolder(e.opt.Bundles, e.opt.Data)
	return loadModel(ctx, folder, version, e.encoder, e.finetuned, e.opt.Config)
}

// scorer ranks with the model as a service would, on the state as of the list that is scored.
func (e *Evaluator) scorer(name string, m *ranker.Model, text bool) (evaluation.Scorer, error) {
	opt := ranker.Options{
		Features: training.ReplayedState{State: e.state}, TextSpec: e.opt.Config.Text,
	}
	if text {
		opt.Vectors = RankerVectors(e.vectors)
	} else {
		m = m.WithVectors(nil)
	}
	opt.Models = scorer.SingleModel(m)
	pipeline, err := ranker.New(opt)
	if err != nil {
		return nil, err
	}
	return evaluation.NewPipelineScorer(name, pipeline), nil
}
