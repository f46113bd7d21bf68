package training

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/replay"
	"relish/training/signals"
)

// Parent is the bundle that a warm start continues. Its trees stay as they are, and new trees are
// added over the same columns. The signals are cheap and are trained again.
//
// Two rules keep the labels honest. The signals that score the scorer's lists are trained only on
// what the parent knew, and without one fold of users. New lists are later than that, and the old
// lists that are mixed in belong to users of that fold. Some old lists are only measured on, to see
// whether the new trees made old lists worse (Trained.RetentionLists).
type Parent struct {
	Trees       []byte // LightGBM's text format
	Features    []ranker.Feature
	Reasons     []Reason
	SignalKinds []string
	// LearnedUntil is the first sequence that the parent was not trained on.
	LearnedUntil uint64
}

// RetentionList is an old list that the new trees were not trained on.
type RetentionList struct {
	Gains                   []float64
	ParentScores, NewScores []float64 // by the parent's trees and by all trees, aligned with Gains
}

// TooFewNewLists says that there is too little new data for a warm start.
type TooFewNewLists struct{ Lists int }

// Error implements error.
func (e TooFewNewLists) Error() string {
	return fmt.Sprintf("too little new data for a warm start: %d new lists with clicks, %d needed",
		e.Lists, minTrainingLists)
}

const (
	// minOldLists is the number of old lists that are mixed in, if there are so many. With more new
	// lists there are as many old ones as new ones.
	minOldLists = 500
	// oldParts is the number of parts that the old lists are divided into.
	oldParts = 10
	// earlyStoppingPart decides when to stop, together with the newest new lists. The parts up to
	// lastRetentionPart are measured on. The trees are trained on all others.
	earlyStoppingPart = 0
	lastRetentionPart = 2

	// maxAddedTrees bounds the trees that one warm start adds.
	maxAddedTrees = 100
)

// oldLists are the lists of a warm start that the parent may have been trained on.
type oldLists struct {
	fold int            // whose users the old lists belong to
	part map[uint64]int // by sequence, 0 to oldParts-1
}

// isEarlyStopping reports whether a list is old and decides when to stop.
func (o *oldLists) isEarlyStopping(seq uint64) bool {
	part, old := o.part[seq]
	return old && part == earlyStoppingPart
}

// isRetention reports whether a list is old and only measured on.
func (o *oldLists) isRetention(seq uint64) bool {
	part, old := o.part[seq]
	return old && part != earlyStoppingPart && part <= lastRetentionPart
}

// isNew reports whether a list is not among the old ones.
func (o *oldLists) isNew(seq uint64) bool {
	_, old := o.part[seq]
	return !old
}

// selectWarmStartLists chooses the new lists and a sample of old ones.
func selectWarmStartLists(
	in *Inputs, log *replay.Log, end uint64,
) ([]replay.RankingList, *oldLists, error) {
	since := in.Parent.LearnedUntil
	fresh := log.ClickedImpressions(since, end)
	// The same lists as in the parent's own training: EncoderSplit or EncoderPairs kept these from
	// the text encoder.
	candidates := selectLists(log, min(since, end), &in.Config, in.PairsEncoder)
	if len(log.Lists) == 0 {
		fresh = sampleEnough(log, since, end, &in.Config)
	}
	if len(fresh) < minTrainingLists {
		return nil, nil, TooFewNewLists{len(fresh)}
	}
	fresh = fresh[max(0, len(fresh)-in.Config.MaxLists):]
	old := &oldLists{fold: int(since % signals.Folds), part: map[uint64]int{}}
	ids := log.Users.IDs()
	var sample []replay.RankingList
	for _, l := range candidates {
		if signals.FoldOf(ids[l.User]) == old.fold {
			sample = append(sample, l)
		}
	}
	rng := rand.New(rand.NewPCG(in.Config.Seed, listStream))
	rng.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	sample = sample[:min(len(sample), max(minOldLists, len(fresh)))]
	for i, l := range sample {
		old.part[l.Seq] = i % oldParts
	}
	lists := slices.Concat(sample, fresh)
	replay.SortLists(lists)
	return lists, old, nil
}

// addTrees adds trees to the parent's for as long as they improve the newest new lists and some old
// ones. It may add none.
func addTrees(
	ctx context.Context, in *Inputs, l *trainingLists, f *fittedSignals, data *dataset,
) (*trainedScorer, error) {
	fresh := 0
	for i := range l.lists {
		if l.old.isNew(l.lists[i].Seq) {
			fresh++
		}
	}
	newest := max(1, int(validationShare*float64(fresh)))
	// New lists are later than old ones, so the newest lists are all new.
	split := l.lists[len(l.lists)-newest].Seq
	isValidation := func(seq uint64) bool {
		return l.old.isEarlyStopping(seq) || l.old.isNew(seq) && seq >= split
	}
	isTraining := func(seq uint64) bool {
		return l.old.isNew(seq) || !l.old.isEarlyStopping(seq) && !l.old.isRetention(seq)
	}
	train, err := data.read(
		in,
		l,
		forTraining,
		func(seq uint64) bool { return isTraining(seq) && !isValidation(seq) },
	)
	if err != nil {
		return nil, err
	}
	valid, err := data.read(in, l, forValidation, isValidation)
	if err != nil {
		return nil, err
	}
	p := boosterParams(&in.Config, f.schema)
	p.InitModel, p.MaxRounds = in.Parent.Trees, min(maxAddedTrees, p.MaxRounds)
	p.NumLeaves = in.Config.Scorer.Leaves[0]
	result, err := in.LightGBM.Train(ctx, train, valid, p, func(round int, _ float64) {
		in.progress("scorer", round, p.MaxRounds)
	})
	if err != nil {
		return nil, err
	}
	out := &trainedScorer{result: result, leaves: p.NumLeaves, validationScore: result.InitialNDCG}
	if result.Rounds > 0 {
		curve := result.ValidationNDCG
		out.validationScore = curve[result.Rounds-1]
		all, err := data.read(in, l, forTraining, isTraining)
		if err != nil {
			return nil, err
		}
		p.MaxRounds = result.Rounds
		if out.result, err = in.LightGBM.Train(ctx, all, nil, p, nil); err != nil {
			return nil, err
		}
		out.result.ValidationNDCG = curve
	}
	if out.model, err = newModel(out.result, f); err != nil {
		return nil, err
	}
	out.retention, err = scoreRetentionLists(in.Parent, l.old, out.model, data)
	return out, err
}

// scoreRetentionLists scores the retention lists by the parent's trees and by all trees.
func scoreRetentionLists(
	parent *Parent, old *oldLists, model *ranker.Model, data *dataset,
) (out []RetentionList, err error) {
	columns := model.Schema.Columns()
	parentTrees, err := scorer.ParseLightGBM(parent.Trees, len(columns))
	if err != nil {
		return nil, err
	}
	rows, err := replay.ReadDataset(data.path, old.isRetention)
	if err != nil {
		return nil, err
	}
	first := 0
	for _, size := range rows.ListSizes {
		n := int(size)
		list := RetentionList{
			Gains: make(
				[]float64,
				n,
			), ParentScores: make([]float64, n), NewScores: make([]float64, n),
		}
		for i := range list.Gains {
			list.Gains[i] = float64(rows.Gains[first+i])
		}
		m := &ranker.Matrix{
			N: n, Columns: columns, Data: rows.Cells[first*rows.Width : (first+n)*rows.Width],
		}
		if err := parentTrees.Score(m, list.ParentScores); err != nil {
			return nil, err
		}
		if err := model.Scorer.Score(m, list.NewScores); err != nil {
			return nil, err
		}
		out = append(out, list)
		first += n
	}
	return out, nil
}
