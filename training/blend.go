package training

import (
	"context"
	"math"
	"path/filepath"
	"slices"

	"relish/ranker"
	"relish/ranker/blend"
	"relish/training/replay"
	"relish/training/trees"
)

// validShare is the newest part of the lists, which says when to stop.
const validShare = 0.15

// blend trains LambdaMART on the dataset: for each size of trees with early stopping on the newest lists, and then with
// the best of them on all lists.
func (t *trainer) blend(ctx context.Context) error {
	if t.Parent != nil {
		return t.blendOn(ctx)
	}
	path := filepath.Join(t.Dir, DatasetFile)
	split := t.picks[int((1-validShare)*float64(len(t.picks)))].Seq
	train, err := t.data(path, func(seq uint64) bool { return seq < split })
	if err != nil {
		return err
	}
	valid, err := t.data(path, func(seq uint64) bool { return seq >= split })
	if err != nil {
		return err
	}
	var best *trees.Result
	p := t.params()
	for i, leaves := range t.Config.Blend.Leaves {
		p.Leaves = leaves
		r, err := t.Library.Train(ctx, train, valid, p, func(round int, _ float64) {
			t.progress("blend", i*p.MaxRounds+round, len(t.Config.Blend.Leaves)*p.MaxRounds)
		})
		if err != nil {
			return err
		}
		if v := r.Curve[r.Rounds-1]; best == nil || v > t.out.Valid {
			best, t.out.Valid, t.out.Leaves = r, v, leaves
		}
	}
	everything, err := t.data(path, func(uint64) bool { return true })
	if err != nil {
		return err
	}
	p.Leaves, p.MaxRounds = t.out.Leaves, best.Rounds
	final, err := t.Library.Train(ctx, everything, nil, p, nil)
	if err != nil {
		return err
	}
	final.Curve = best.Curve
	t.out.Trees = final
	parsed, err := blend.ParseTrees(final.Model, len(t.schema.Columns()))
	if err != nil {
		return err
	}
	t.out.Model = &ranker.Model{Schema: t.schema, Matchers: rankersOf(t.final), Blend: parsed}
	return nil
}

func (t *trainer) params() trees.Params {
	p := trees.Defaults()
	p.Objective, p.MaxRounds, p.LearningRate, p.Seed = t.Config.Blend.Objective, t.Config.Blend.Rounds, t.Config.Blend.LearningRate, t.Config.Seed
	if len(t.Config.Monotone) > 0 {
		p.Monotone = make([]int8, len(t.schema.Columns()))
		for i, c := range t.schema.Columns() {
			p.Monotone[i] = int8(t.Config.Monotone[c.Name])
		}
	}
	return p
}

// data reads a part of the dataset as the trainer takes it.
func (t *trainer) data(path string, keep func(seq uint64) bool) (*trees.Data, error) {
	rows, err := replay.ReadDataset(path, keep)
	if err != nil {
		return nil, err
	}
	d := &trees.Data{Rows: rows.Cells, Features: rows.Width, Labels: rows.Gains, Groups: rows.Lists}
	made := slices.ContainsFunc(t.picks, func(p replay.Pick) bool { return !p.Shown }) // at no place
	if *t.Config.Blend.Position && !made {
		d.Position = rows.Position
	}
	if t.Config.HalfLife > 0 {
		d.Weights = t.weights(rows)
	}
	return d, nil
}

const msPerDay = 24 * 60 * 60 * 1000

// weights halve with every half-life of a list's age.
func (t *trainer) weights(rows *replay.Rows) []float32 {
	arrival := map[uint64]int64{}
	for i := range t.log.Lists {
		arrival[t.log.Lists[i].Seq] = t.log.Lists[i].Arrival
	}
	out := make([]float32, 0, len(rows.Gains))
	for i, seq := range rows.Seqs {
		age := 0.0
		if at, ok := arrival[seq]; ok {
			age = float64(t.log.Last.Arrival-at) / msPerDay
		}
		w := float32(max(1e-3, math.Exp2(-age/t.Config.HalfLife)))
		for range rows.Lists[i] {
			out = append(out, w)
		}
	}
	return out
}
