package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"relish/evaluation"
	"relish/features"
	"relish/features/external"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training"
	"relish/training/replay"
)

// train implements evaluation.Trainer. The trained model exists in memory only.
func (e *Evaluator) train(
	ctx context.Context, name string, on replay.Source, without []string,
) (evaluation.Scorer, *ranker.Schema, error) {
	in, err := e.trainingInputs(on, without)
	if err != nil {
		return nil, nil, err
	}
	backend, err := e.opt.Encoder.openBackend()
	if err != nil {
		return nil, nil, err
	}
	defer backend.Finalize()
	in.Backend = backend
	if in.WorkDir, err = os.MkdirTemp(e.workDir, "training-*"); err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(in.WorkDir)
	if e.opt.TrainProgress != nil {
		in.Progress = func(stage string, done, total int) {
			e.opt.TrainProgress(name, stage, done, total)
		}
	}
	trained, err := training.Train(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	s, err := e.scorer(name, trained.Model, in.Vectors != nil)
	return s, trained.Model.Schema, err
}

// trainingInputs are the inputs of a training without the named signals and features. A training
// without text gets neither vectors nor the signals that read words.
func (e *Evaluator) trainingInputs(
	on replay.Source, without []string,
) (in training.Inputs, err error) {
	cfg := e.opt.Config
	in = training.Inputs{
		Source: on, State: cfg.State, OpenTable: external.Opener(e.opt.Data, e.opt.Log),
		TextSpec: cfg.Text, Config: cfg.Train,
	}
	if in.LightGBM, err = e.opt.Encoder.openLightGBM(); err != nil {
		return in, err
	}
	if in.ExternalColumns, err = externalColumns(on, in.OpenTable); err != nil {
		return in, err
	}
	for _, name := range without {
		if name == evaluation.TextGroup {
			in.Exclude = append(in.Exclude, signals.KindTokenOverlap, signals.KindLexical)
		} else {
			in.Exclude = append(in.Exclude, name)
		}
	}
	if !slices.Contains(without, evaluation.TextGroup) {
		in.Vectors = RankerVectors(e.vectors)
	}
	return in, nil
}

// externalColumns returns the columns of the newest version of each external table, as
// "TABLE.COLUMN".
func externalColumns(
	on replay.Source, open func(name, digest string) *features.ExternalTable,
) (names []string, err error) {
	newest := map[string]string{} // digest by table
	for record, err := range on() {
		if err != nil {
			return nil, err
		}
		if record.Event.Kind == ranker.EventTable {
			newest[record.Event.Table] = record.Event.Digest
		}
	}
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		if table := open(name, newest[name]); table != nil {
			for _, column := range table.Names() {
				names = append(names, name+"."+column)
			}
		}
	}
	return names, nil
}

// checkVectors returns an error if an item's text has no vector yet. A training would go on without
// the missing vectors, and its figures would not be those of a complete catalogue.
func (e *Evaluator) checkVectors(test *evaluation.TestSet) error {
	if e.vectors == nil {
		return nil
	}
	items := test.Log.Catalogue.Items()
	if n := e.vectors.Lookup(items, make([][]float32, len(items))); n > 0 {
		return fmt.Errorf("%d item texts have no vector yet. Encode them with relish embed "+
			"--data %s, or measure with --no-text", n, e.opt.Data)
	}
	return nil
}
