package training

import (
	"context"
	"math"
	"path/filepath"
	"slices"

	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
	"relish/training/replay"
)

// validationShare is the newest part of the lists, which says when to stop.
const validationShare = 0.15

// trainScorer trains LambdaMART on the dataset: for each size of trees with early stopping on the newest lists, and then with
// the best of them on all lists.
func (t *trainer) trainScorer(ctx context.Context) error {
	if t.Parent != nil {
		return t.addTrees(ctx)
	}
	path := filepath.Join(t.WorkDir, DatasetFile)
	split := t.lists[int((1-validationShare)*float64(len(t.lists)))].Seq
	train, err := t.readRows(path, func(seq uint64) bool { return seq < split })
	if err != nil {
		return err
	}
	valid, err := t.readRows(path, func(seq uint64) bool { return seq >= split })
	if err != nil {
		return err
	}
	var best *gbdt.Result
	p := t.boosterParams()
	for i, leaves := range t.Config.Scorer.Leaves {
		p.NumLeaves = leaves
		r, err := t.Library.Train(ctx, train, valid, p, func(round int, _ float64) {
			t.progress("scorer", i*p.MaxRounds+round, len(t.Config.Scorer.Leaves)*p.MaxRounds)
		})
		if err != nil {
			return err
		}
		if v := r.ValidationNDCG[r.Rounds-1]; best == nil || v > t.out.ValidationScore {
			best, t.out.ValidationScore, t.out.Leaves = r, v, leaves
		}
	}
	everything, err := t.readRows(path, func(uint64) bool { return true })
	if err != nil {
		return err
	}
	p.NumLeaves, p.MaxRounds = t.out.Leaves, best.Rounds
	final, err := t.Library.Train(ctx, everything, nil, p, nil)
	if err != nil {
		return err
	}
	final.ValidationNDCG = best.ValidationNDCG
	t.out.Trees = final
	parsed, err := scorer.ParseLightGBM(final.Model, len(t.schema.Columns()))
	if err != nil {
		return err
	}
	t.out.Model = &ranker.Model{Schema: t.schema, Signals: rankerSignals(t.final), Scorer: parsed}
	return nil
}

func (t *trainer) boosterParams() gbdt.Params {
	p := gbdt.DefaultParams()
	p.Objective, p.MaxRounds, p.LearningRate, p.Seed = t.Config.Scorer.Objective, t.Config.Scorer.Rounds, t.Config.Scorer.LearningRate, t.Config.Seed
	if len(t.Config.Monotone) > 0 {
		p.MonotoneConstraints = make([]int8, len(t.schema.Columns()))
		for i, c := range t.schema.Columns() {
			p.MonotoneConstraints[i] = int8(t.Config.Monotone[c.Name])
		}
	}
	return p
}

// readRows reads a part of the dataset as the trainer takes it.
func (t *trainer) readRows(path string, keep func(seq uint64) bool) (*gbdt.Dataset, error) {
	rows, err := replay.ReadDataset(path, keep)
	if err != nil {
		return nil, err
	}
	d := &gbdt.Dataset{Rows: rows.Cells, NumFeatures: rows.Width, Labels: rows.Gains, Groups: rows.ListSizes}
	made := slices.ContainsFunc(t.lists, func(p replay.RankingList) bool { return !p.Logged }) // at no place
	if *t.Config.Scorer.Position && !made {
		d.Positions = rows.Positions
	}
	if t.Config.HalfLifeDays > 0 {
		d.Weights = t.ageWeights(rows)
	}
	return d, nil
}

const msPerDay = 24 * 60 * 60 * 1000

// ageWeights halve with every half-life of a list's age.
func (t *trainer) ageWeights(rows *replay.Rows) []float32 {
	arrival := map[uint64]int64{}
	for i := range t.log.Lists {
		arrival[t.log.Lists[i].Seq] = t.log.Lists[i].Arrival
	}
	out := make([]float32, 0, len(rows.Gains))
	for i, seq := range rows.ListSeqs {
		age := 0.0
		if at, ok := arrival[seq]; ok {
			age = float64(t.log.Last.Arrival-at) / msPerDay
		}
		w := float32(max(1e-3, math.Exp2(-age/t.Config.HalfLifeDays)))
		for range rows.ListSizes[i] {
			out = append(out, w)
		}
	}
	return out
}
