package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"relish/features"
	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
	"relish/training/twotower"
)

// trainedSignal is one trained signal; file is nil for a kind that learns nothing.
type trainedSignal struct {
	kind string
	ranker.Signal
	file []byte
}

// fittedSignals are the signals of one training.
type fittedSignals struct {
	final  []trainedSignal  // trained on all users, for serving
	epochs []twotower.Epoch // of the final two-tower model
	// twoTower compares the final two-tower model with item popularity; nil if none was trained.
	twoTower *twotower.Validation
	// timeLimited reports that a time limit shortened the training of a two-tower model.
	timeLimited bool
	schema      *ranker.Schema
	reasons     []Reason
	// crossFit divides the users into folds. byFold has the model that scores the lists of a fold's
	// users; it has no scorer.
	crossFit *signals.CrossFit
	byFold   map[int]*ranker.Model
}

// modelFor returns the cross-fitted model that scores a user's lists.
func (f *fittedSignals) modelFor(user int32) *ranker.Model {
	return f.byFold[f.crossFit.Fold(user)]
}

// trainSignals trains the signals for serving, and those that score the scorer's lists.
func trainSignals(ctx context.Context, in *Inputs, l *trainingLists) (*fittedSignals, error) {
	crossFit := signals.NewCrossFit(l.log, l.lists, in.Vectors, l.holdoutStart)
	crossFit.Examination = l.curve()
	if in.Vectors != nil && slices.Contains(in.Config.Signals, served.KindQueryHistory) {
		if err := crossFit.ReadQuestions(ctx, in.Vectors); err != nil {
			return nil, err
		}
	}
	if in.Parent == nil {
		crossFit = crossFit.MergeFolds()
	}
	var kinds []string
	for _, kind := range in.Config.Signals {
		if !in.isExcluded(kind) {
			kinds = append(kinds, kind)
		}
	}
	everyone := crossFit.Corpus(signals.NoFold)
	t, err := newSignalTrainer(in, kinds, everyone)
	if err != nil {
		return nil, err
	}
	out := &fittedSignals{crossFit: crossFit, byFold: map[int]*ranker.Model{}}
	if out.final, err = t.train(ctx, everyone); err != nil {
		return nil, err
	}
	out.epochs, out.twoTower = t.epochs, t.twoTower
	if out.schema, out.reasons, err = newSchema(in, l, out.final); err != nil {
		return nil, err
	}
	if in.Parent != nil {
		err = out.trainWarmStart(ctx, in, l, t)
	} else {
		err = out.trainFolds(ctx, in, l, t)
	}
	out.timeLimited = t.timeLimited
	return out, err
}

// trainFolds trains the signals that score the lists of each fold.
func (f *fittedSignals) trainFolds(
	ctx context.Context, in *Inputs, l *trainingLists, t *signalTrainer,
) error {
	needed := map[int]bool{}
	for i := range l.lists {
		needed[f.crossFit.Fold(l.lists[i].User)] = true
	}
	done := 1
	for fold := range signals.Folds {
		if !needed[fold] {
			continue
		}
		in.progress("signals", done, len(needed)+1)
		fitted, err := t.train(ctx, f.crossFit.Corpus(fold))
		if err != nil {
			return err
		}
		f.byFold[fold] = &ranker.Model{Schema: f.schema, Signals: rankerSignals(fitted)}
		done++
	}
	return nil
}

// trainWarmStart trains the signals that score the lists of a warm start, see Parent.
func (f *fittedSignals) trainWarmStart(
	ctx context.Context, in *Inputs, l *trainingLists, t *signalTrainer,
) error {
	known := f.crossFit.Before(in.Parent.LearnedUntil)
	fitted, err := t.train(ctx, known.Corpus(l.old.fold))
	if err != nil {
		return err
	}
	for fold := range signals.Folds {
		f.byFold[fold] = &ranker.Model{Schema: f.schema, Signals: rankerSignals(fitted)}
	}
	return nil
}

// newSchema returns the configured features, or those that the log has data for, without the
// excluded ones. reasons is empty for configured features.
func newSchema(
	in *Inputs, l *trainingLists, final []trainedSignal,
) (schema *ranker.Schema, reasons []Reason, err error) {
	all := in.Config.Features
	if in.Parent != nil {
		reasons = in.Parent.Reasons
	}
	if len(all) == 0 {
		all, reasons = InferSchema(
			l.log, l.holdoutStart, in.State, signalColumns(final), in.ExternalColumns,
		)
	}
	var kept []ranker.Feature
	for _, f := range all {
		if !in.isExcluded(f.Name) && !in.isExcluded(ranker.GroupOf(&f)) {
			kept = append(kept, f)
		}
	}
	if err := in.Config.checkMonotone(all); err != nil {
		return nil, nil, err
	}
	if schema, err = ranker.NewSchema(kept); err != nil {
		return nil, nil, err
	}
	return schema, reasons, features.CheckSchema(&in.State, schema)
}

// signalTrainer trains signals of the same kinds on several corpora.
type signalTrainer struct {
	in    *Inputs
	kinds []string
	// content and lexical depend on the catalogue alone, not on users: they are trained once. They
	// are nil if no kind needs them.
	content *served.ContentFeatures
	lexical *served.Lexical
	// variances are chosen on the corpus of all users, not for each fold: four numbers for the
	// whole catalogue do not tell a list its own clicks.
	variances signals.ContentVariances
	prior     *served.ContentPrior // of the corpus that is trained on
	epochs    []twotower.Epoch     // of the latest two-tower model
	// twoTower compares the first two-tower model, that of all users, with item popularity.
	twoTower *twotower.Validation
	// timeLimited reports that a time limit shortened the training of a two-tower model.
	timeLimited bool
}

func newSignalTrainer(in *Inputs, kinds []string, c *signals.Corpus) (*signalTrainer, error) {
	t := &signalTrainer{in: in, kinds: kinds}
	if slices.Contains(kinds, served.KindResidualGP) ||
		slices.Contains(kinds, served.KindContentPrior) {
		var err error
		if t.content, err = signals.TrainContentFeatures(c, in.Config.Seed); err != nil {
			return nil, err
		}
		if t.variances, err = signals.ChooseContentVariances(c, t.content); err != nil {
			return nil, err
		}
	}
	if slices.Contains(kinds, served.KindLexical) {
		t.lexical = signals.TrainLexical(c)
	}
	return t, nil
}

// train trains the kinds that the corpus has data for, in the order of kinds.
func (t *signalTrainer) train(ctx context.Context, c *signals.Corpus) ([]trainedSignal, error) {
	var out []trainedSignal
	if t.content != nil {
		var err error
		if t.prior, err = signals.TrainContentPrior(c, t.content, t.variances); err != nil {
			return nil, err
		}
	}
	for _, kind := range t.kinds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := t.trainKind(ctx, kind, c)
		if err != nil {
			return nil, fmt.Errorf("signal %s: %w", kind, err)
		}
		if s.Signal != nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// trainKind trains one signal. The result has no Signal if the corpus lacks the data.
func (t *signalTrainer) trainKind(
	ctx context.Context, kind string, c *signals.Corpus,
) (trainedSignal, error) {
	var trained served.TrainedSignal
	switch kind {
	case served.KindText:
		if text, ok := signals.TrainTextSimilarity(c); ok {
			trained = text
		}
	case served.KindTokenOverlap:
		return trainedSignal{kind: kind, Signal: served.TokenOverlap{}}, nil
	case served.KindLexical:
		if t.lexical != nil {
			trained = t.lexical
		}
	case served.KindCooccurrence:
		if c.HasPairs() {
			trained = signals.TrainCooccurrence(c)
		}
	case served.KindMatrixFactorization:
		if c.HasPairs() {
			opt := signals.FactorizationOptions{Seed: t.in.Config.Seed}
			trained = signals.TrainMatrixFactorization(c, opt)
		}
	case served.KindQueryHistory:
		if history := signals.TrainQueryHistory(c); history != nil {
			trained = history
		}
	case served.KindResidualGP:
		gp, err := signals.TrainResidualGP(c, t.prior, t.in.Config.Seed)
		if err != nil {
			return trainedSignal{}, err
		}
		if gp != nil {
			trained = gp
		}
	case served.KindContentPrior:
		if !t.content.IsEmpty() {
			trained = t.prior
		}
	case served.KindTwoTower:
		model, err := t.trainTwoTower(ctx, c)
		if err != nil {
			return trainedSignal{}, err
		}
		if model != nil {
			trained = model
		}
	default:
		return trainedSignal{}, fmt.Errorf("no trainer for the signal kind %q", kind)
	}
	if trained == nil {
		return trainedSignal{}, nil
	}
	return trainedSignal{kind, trained, trained.Encode()}, nil
}

// leavesOutTwoTower reports that the two-tower model of all users ranks no better than item
// popularity. The scorer would learn from its noise, so neither it nor those of the folds are kept.
// A warm start and a configuration that names its features keep the model, because their features
// are given.
func (t *signalTrainer) leavesOutTwoTower() bool {
	return t.twoTower != nil && !t.twoTower.BeatsPopularity() && !t.in.KeepTwoTower &&
		t.in.Parent == nil && len(t.in.Config.Features) == 0
}

// trainTwoTower trains the two-tower model. It returns nil if there is too little data, no backend
// to train with, or if it is left out.
func (t *signalTrainer) trainTwoTower(
	ctx context.Context, c *signals.Corpus,
) (*served.TwoTower, error) {
	if t.in.Backend == nil || t.leavesOutTwoTower() {
		return nil, nil
	}
	config, cfg := &t.in.Config, twotower.DefaultConfig()
	cfg.Layers, cfg.Epochs, cfg.Seed = *config.TwoTower.Layers, config.TwoTower.Epochs, config.Seed
	cfg.MaxSteps = config.TwoTower.Steps
	cfg.TimeLimit = time.Duration(config.TwoTower.Minutes * float64(time.Minute))
	cfg.Progress = func(e twotower.Epoch) {
		stage := fmt.Sprintf("two-tower model, epoch %d of %d: loss %.3f", e.Number, e.Planned,
			e.Loss)
		if !math.IsNaN(e.NDCG) { // there is nothing held out
			stage += fmt.Sprintf(", held-out NDCG@10 %.3f", e.NDCG)
		}
		t.in.progress(stage, 0, 0)
	}
	result, err := twotower.Train(ctx, t.in.Backend, c, cfg)
	if errors.Is(err, twotower.ErrNoSequences) || errors.Is(err, twotower.ErrTooFewItems) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t.epochs, t.timeLimited = result.Epochs, t.timeLimited || result.TimeLimited
	if t.twoTower == nil {
		t.twoTower = &result.Validation
	}
	if t.leavesOutTwoTower() {
		return nil, nil
	}
	return result.Model, nil
}

// signalColumns returns the columns of all signals.
func signalColumns(list []trainedSignal) (names []string) {
	for _, s := range list {
		names = append(names, s.Columns()...)
	}
	return names
}

// rankerSignals returns the signals as a model holds them.
func rankerSignals(list []trainedSignal) (out []ranker.Signal) {
	for _, s := range list {
		out = append(out, s.Signal)
	}
	return out
}
