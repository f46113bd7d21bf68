package training

import (
	"context"

	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
)

// validationShare is the share of the newest lists that decide when to stop.
const validationShare = 0.15

// trainedScorer is the trained scorer with its model.
type trainedScorer struct {
	model           *ranker.Model
	result          *gbdt.Result
	leaves          int
	validationScore float64
	retention       []RetentionList // of a warm start
}

// trainScorer trains LambdaMART on the dataset. It first trains with each tree size and early
// stopping on the newest lists, then with the best size on all lists.
func trainScorer(
	ctx context.Context, in *Inputs, l *trainingLists, f *fittedSignals, data *dataset,
) (*trainedScorer, error) {
	if in.Parent != nil {
		return addTrees(ctx, in, l, f, data)
	}
	split := l.lists[int((1-validationShare)*float64(len(l.lists)))].Seq
	train, err := data.read(in, l, forTraining, func(seq uint64) bool { return seq < split })
	if err != nil {
		return nil, err
	}
	valid, err := data.read(in, l, forValidation, func(seq uint64) bool { return seq >= split })
	if err != nil {
		return nil, err
	}
	out := &trainedScorer{}
	var best *gbdt.Result
	p := boosterParams(&in.Config, f.schema)
	sizes := in.Config.Scorer.Leaves
	for i, leaves := range sizes {
		p.NumLeaves = leaves
		r, err := in.LightGBM.Train(ctx, train, valid, p, func(round int, _ float64) {
			in.progress("scorer", i*p.MaxRounds+round, len(sizes)*p.MaxRounds)
		})
		if err != nil {
			return nil, err
		}
		if v := r.ValidationNDCG[r.Rounds-1]; best == nil || v > out.validationScore {
			best, out.validationScore, out.leaves = r, v, leaves
		}
	}
	all, err := data.read(in, l, forTraining, func(uint64) bool { return true })
	if err != nil {
		return nil, err
	}
	p.NumLeaves, p.MaxRounds = out.leaves, best.Rounds
	if out.result, err = in.LightGBM.Train(ctx, all, nil, p, nil); err != nil {
		return nil, err
	}
	out.result.ValidationNDCG = best.ValidationNDCG
	out.model, err = newModel(out.result, f)
	return out, err
}

// newModel returns the model of the trees and the final signals.
func newModel(result *gbdt.Result, f *fittedSignals) (*ranker.Model, error) {
	trees, err := scorer.ParseLightGBM(result.Model, len(f.schema.Columns()))
	if err != nil {
		return nil, err
	}
	return &ranker.Model{Schema: f.schema, Signals: rankerSignals(f.final), Scorer: trees}, nil
}

// boosterParams returns the configured parameters of the booster.
func boosterParams(cfg *Config, schema *ranker.Schema) gbdt.Params {
	p := gbdt.DefaultParams()
	p.Objective, p.MaxRounds = cfg.Scorer.Objective, cfg.Scorer.Rounds
	p.LearningRate, p.Seed = cfg.Scorer.LearningRate, cfg.Seed
	if len(cfg.Monotone) > 0 {
		p.MonotoneConstraints = make([]int8, len(schema.Columns()))
		for i, c := range schema.Columns() {
			p.MonotoneConstraints[i] = int8(cfg.Monotone[c.Name])
		}
	}
	return p
}
