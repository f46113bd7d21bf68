package training

import (
	"context"
	"fmt"
	"path/filepath"

	"relish/ranker"
	"relish/ranker/scorer"
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
	Trees        []byte // LightGBM's text
	Features     []ranker.Feature
	Reasons      []Reason
	SignalKinds  []string // of matchers
	LearnedUntil uint64   // the parent has learned from the sequences before it
}

// RetentionList is a list from before the parent's end that was not trained on.
type RetentionList struct {
	Gains                   []float64
	ParentScores, NewScores []float64 // scores by the parent's trees and by the new ones, aligned with Gains
}

// TooFewNewLists says that too little has come since the parent was trained.
type TooFewNewLists struct{ Lists int }

// Error implements error.
func (n TooFewNewLists) Error() string {
	return fmt.Sprintf("%d new lists with clicks have come since the bundle that is trained on; at least %d are needed", n.Lists, minTrainingLists)
}

// How many old lists go with the new ones, and what becomes of them.
const (
	minOldLists       = 500
	oldParts          = 10 // of which one says when to stop, two are measured on, and the others are trained on
	earlyStoppingPart = 0
	lastRetentionPart = 2
)

// selectWarmStartLists chooses the new lists and a sample of the old ones.
func (t *trainer) selectWarmStartLists() error {
	since := t.Parent.LearnedUntil
	fresh := t.log.ClickedImpressions(since, t.holdoutStart)
	// As the parent's own training chose them: what its text encoder may have learned from is none of these (Spared).
	old := selectLists(t.log, min(since, t.holdoutStart), &t.Config, t.rng)
	if len(t.log.Lists) == 0 {
		n := replay.Negatives{Count: t.Config.Negatives.Count, Popular: t.Config.Negatives.Popular}
		fresh = t.log.SampledLists(since, t.holdoutStart, n, sampledListsPerUser, t.rng)
	}
	if len(fresh) < minTrainingLists {
		return TooFewNewLists{len(fresh)}
	}
	fresh = fresh[max(0, len(fresh)-t.Config.MaxLists):]
	t.oldFold = int(since % folds)
	ids := t.log.Users.IDs()
	var sample []replay.RankingList
	for _, p := range old {
		if foldOf(ids[p.User]) == t.oldFold {
			sample = append(sample, p)
		}
	}
	t.rng.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	sample = sample[:min(len(sample), max(minOldLists, len(fresh)))]
	t.oldPart = map[uint64]int{}
	for i, p := range sample {
		t.oldPart[p.Seq] = i % oldParts
	}
	t.lists = append(sample, fresh...)
	replay.SortLists(t.lists)
	t.Config.Features, t.Config.Signals, t.out.Reasons = t.Parent.Features, t.Parent.SignalKinds, t.Parent.Reasons
	t.out.Log, t.out.HoldoutStart, t.out.Lists = t.log, t.holdoutStart, len(t.lists)
	return nil
}

// trainWarmStartSignals trains those that score the blend's lists.
func (t *trainer) trainWarmStartSignals(ctx context.Context, m *signalTrainer) error {
	before := *t.corpus
	before.until = min(t.Parent.LearnedUntil, t.holdoutStart)
	ms, err := m.train(ctx, before.without(t.oldFold))
	if err != nil {
		return err
	}
	for fold := range folds {
		t.byFold[fold] = &ranker.Model{Schema: t.schema, Signals: rankerSignals(ms)}
	}
	return nil
}

// maxAddedTrees are at most the trees that one training adds.
const maxAddedTrees = 100

// addTrees adds trees: as many as the newest of the new lists, and some old ones, get better by, which may be none.
func (t *trainer) addTrees(ctx context.Context) error {
	path := filepath.Join(t.WorkDir, DatasetFile)
	fresh := 0
	for _, p := range t.lists {
		if _, old := t.oldPart[p.Seq]; !old {
			fresh++
		}
	}
	split := t.lists[len(t.lists)-max(1, int(validationShare*float64(fresh)))].Seq // the newest picks are new lists
	stops := func(seq uint64) bool {
		part, old := t.oldPart[seq]
		return old && part == earlyStoppingPart || !old && seq >= split
	}
	learns := func(seq uint64) bool {
		part, old := t.oldPart[seq]
		return old && part > lastRetentionPart || !old
	}
	train, err := t.readRows(path, func(seq uint64) bool { return learns(seq) && !stops(seq) })
	if err != nil {
		return err
	}
	valid, err := t.readRows(path, stops)
	if err != nil {
		return err
	}
	p := t.boosterParams()
	p.InitModel, p.MaxRounds, p.NumLeaves = t.Parent.Trees, min(maxAddedTrees, p.MaxRounds), t.Config.Scorer.Leaves[0]
	r, err := t.Library.Train(ctx, train, valid, p, func(round int, _ float64) { t.progress("scorer", round, p.MaxRounds) })
	if err != nil {
		return err
	}
	t.out.Leaves, t.out.ValidationScore = p.NumLeaves, r.InitialNDCG
	if r.Rounds > 0 {
		t.out.ValidationScore = r.ValidationNDCG[r.Rounds-1]
		everything, err := t.readRows(path, learns)
		if err != nil {
			return err
		}
		curve := r.ValidationNDCG
		p.MaxRounds = r.Rounds
		if r, err = t.Library.Train(ctx, everything, nil, p, nil); err != nil {
			return err
		}
		r.ValidationNDCG = curve
	}
	t.out.Trees = r
	now, err := scorer.ParseLightGBM(r.Model, len(t.schema.Columns()))
	if err != nil {
		return err
	}
	t.out.Model = &ranker.Model{Schema: t.schema, Signals: rankerSignals(t.final), Scorer: now}
	return t.scoreRetentionLists(path, now)
}

// scoreRetentionLists scores the old lists that were kept out of it by the parent's trees and by the new ones.
func (t *trainer) scoreRetentionLists(path string, now *scorer.GBDT) error {
	before, err := scorer.ParseLightGBM(t.Parent.Trees, len(t.schema.Columns()))
	if err != nil {
		return err
	}
	rows, err := replay.ReadDataset(path, func(seq uint64) bool {
		part, old := t.oldPart[seq]
		return old && part != earlyStoppingPart && part <= lastRetentionPart
	})
	if err != nil {
		return err
	}
	at := 0
	for _, n := range rows.ListSizes {
		list := RetentionList{Gains: make([]float64, n), ParentScores: make([]float64, n), NewScores: make([]float64, n)}
		m := &ranker.Matrix{N: int(n), Columns: t.schema.Columns(), Data: rows.Cells[at*rows.Width : (at+int(n))*rows.Width]}
		for i := range list.Gains {
			list.Gains[i] = float64(rows.Gains[at+i])
		}
		if err := before.Score(m, list.ParentScores); err != nil {
			return err
		}
		if err := now.Score(m, list.NewScores); err != nil {
			return err
		}
		t.out.RetentionLists = append(t.out.RetentionLists, list)
		at += int(n)
	}
	return nil
}
