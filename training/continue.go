package training

import (
	"context"
	"fmt"
	"path/filepath"

	"relish/ranker"
	"relish/ranker/blend"
	"relish/training/replay"
)

// Parent is a bundle that is trained on: its trees stay as they are and new ones are added to them, over the same columns;
// the matchers' tables are cheap and made anew.
//
// Two things keep the new trees honest and the old ones remembered. The matchers that score the blend's lists learn from
// the old part alone and leave out a fold of its users: the new lists came after what they know, and the old lists that
// are mixed among them are of that fold's users. And a part of those old lists is only measured on, by the old trees
// and by the new ones (Trained.Old).
type Parent struct {
	Trees    []byte // LightGBM's text
	Features []ranker.Feature
	Reasons  []Reason
	Kinds    []string // of matchers
	Since    uint64   // the parent has learned from the sequences before it
}

// OldList is a list from before the parent's end that was not trained on.
type OldList struct {
	Gains         []float64
	Before, After []float64 // scores by the parent's trees and by the new ones, aligned with Gains
}

// NothingNew says that too little has come since the parent was trained.
type NothingNew struct{ Lists int }

// Error implements error.
func (n NothingNew) Error() string {
	return fmt.Sprintf("%d new lists with clicks have come since the bundle that is trained on; at least %d are needed", n.Lists, minLists)
}

// How many old lists go with the new ones, and what becomes of them.
const (
	fewestOld = 500
	oldParts  = 10 // of which one says when to stop, two are measured on, and the others are trained on
	stopPart  = 0
	lastKept  = 2
)

// readOn chooses the new lists and a sample of the old ones.
func (t *trainer) readOn() error {
	since := t.Parent.Since
	fresh := t.log.Shown(since, t.cut)
	// As the parent's own training chose them: what its text encoder may have learned from is none of these (Spared).
	old := choose(t.log, min(since, t.cut), &t.Config, t.rng)
	if len(t.log.Lists) == 0 {
		n := replay.Negatives{Count: t.Config.Negatives.Count, Popular: t.Config.Negatives.Popular}
		fresh = t.log.Made(since, t.cut, n, madePerUser, t.rng)
	}
	if len(fresh) < minLists {
		return NothingNew{len(fresh)}
	}
	fresh = fresh[max(0, len(fresh)-t.Config.MaxLists):]
	t.oldFold = int(since % folds)
	ids := t.log.Users.IDs()
	var sample []replay.Pick
	for _, p := range old {
		if foldOf(ids[p.User]) == t.oldFold {
			sample = append(sample, p)
		}
	}
	t.rng.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	sample = sample[:min(len(sample), max(fewestOld, len(fresh)))]
	t.oldPart = map[uint64]int{}
	for i, p := range sample {
		t.oldPart[p.Seq] = i % oldParts
	}
	t.picks = append(sample, fresh...)
	replay.SortPicks(t.picks)
	t.Config.Features, t.Config.Matchers, t.out.Reasons = t.Parent.Features, t.Parent.Kinds, t.Parent.Reasons
	t.out.Log, t.out.Cut, t.out.Lists = t.log, t.cut, len(t.picks)
	return nil
}

// matchersOn trains those that score the blend's lists.
func (t *trainer) matchersOn(ctx context.Context, m *matcherTrainer) error {
	before := *t.corpus
	before.until = min(t.Parent.Since, t.cut)
	ms, err := m.train(ctx, before.without(t.oldFold))
	if err != nil {
		return err
	}
	for fold := range folds {
		t.byFold[fold] = &ranker.Model{Schema: t.schema, Matchers: rankersOf(ms)}
	}
	return nil
}

// roundsOn are at most the trees that one training adds.
const roundsOn = 100

// blendOn adds trees: as many as the newest of the new lists, and some old ones, get better by, which may be none.
func (t *trainer) blendOn(ctx context.Context) error {
	path := filepath.Join(t.Dir, DatasetFile)
	fresh := 0
	for _, p := range t.picks {
		if _, old := t.oldPart[p.Seq]; !old {
			fresh++
		}
	}
	split := t.picks[len(t.picks)-max(1, int(validShare*float64(fresh)))].Seq // the newest picks are new lists
	stops := func(seq uint64) bool {
		part, old := t.oldPart[seq]
		return old && part == stopPart || !old && seq >= split
	}
	learns := func(seq uint64) bool {
		part, old := t.oldPart[seq]
		return old && part > lastKept || !old
	}
	train, err := t.data(path, func(seq uint64) bool { return learns(seq) && !stops(seq) })
	if err != nil {
		return err
	}
	valid, err := t.data(path, stops)
	if err != nil {
		return err
	}
	p := t.params()
	p.Start, p.MaxRounds, p.Leaves = t.Parent.Trees, min(roundsOn, p.MaxRounds), t.Config.Blend.Leaves[0]
	r, err := t.Library.Train(ctx, train, valid, p, func(round int, _ float64) { t.progress("blend", round, p.MaxRounds) })
	if err != nil {
		return err
	}
	t.out.Leaves, t.out.Valid = p.Leaves, r.Start
	if r.Rounds > 0 {
		t.out.Valid = r.Curve[r.Rounds-1]
		everything, err := t.data(path, learns)
		if err != nil {
			return err
		}
		curve := r.Curve
		p.MaxRounds = r.Rounds
		if r, err = t.Library.Train(ctx, everything, nil, p, nil); err != nil {
			return err
		}
		r.Curve = curve
	}
	t.out.Trees = r
	now, err := blend.ParseTrees(r.Model, len(t.schema.Columns()))
	if err != nil {
		return err
	}
	t.out.Model = &ranker.Model{Schema: t.schema, Matchers: rankersOf(t.final), Blend: now}
	return t.remember(path, now)
}

// remember scores the old lists that were kept out of it by the parent's trees and by the new ones.
func (t *trainer) remember(path string, now *blend.Trees) error {
	before, err := blend.ParseTrees(t.Parent.Trees, len(t.schema.Columns()))
	if err != nil {
		return err
	}
	rows, err := replay.ReadDataset(path, func(seq uint64) bool {
		part, old := t.oldPart[seq]
		return old && part != stopPart && part <= lastKept
	})
	if err != nil {
		return err
	}
	at := 0
	for _, n := range rows.Lists {
		list := OldList{Gains: make([]float64, n), Before: make([]float64, n), After: make([]float64, n)}
		m := &ranker.Matrix{N: int(n), Columns: t.schema.Columns(), Data: rows.Cells[at*rows.Width : (at+int(n))*rows.Width]}
		for i := range list.Gains {
			list.Gains[i] = float64(rows.Gains[at+i])
		}
		if err := before.Score(m, list.Before); err != nil {
			return err
		}
		if err := now.Score(m, list.After); err != nil {
			return err
		}
		t.out.Old = append(t.out.Old, list)
		at += int(n)
	}
	return nil
}
