package evaluation

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/replay"
)

// Options says what to score. Zero values mean the defaults in brackets.
type Options struct {
	TestShare   float64            // the newest share of the lists that is scored, 0 < Last <= 1
	Prequential bool               // false: state stands still where the scored part begins
	K           int                // NDCG@K, MAP@K, HR@K, and how much of an answer coverage and diversity look at [10]
	Gains       map[string]float64 // action -> gain; others count 1
	FollowUp    int64              // see replay.Options, ms
	Negatives   int                // sampled per list where the log has no impressions [19]
	Seed        uint64
	// IsHidden makes the evaluation the cold-item experiment: nobody sees what was done with the items for which it holds, and
	// lists are scored among these items only, as if they were new. nil: a common evaluation.
	IsHidden func(id string) bool
	Vectors  ranker.Vectors        // of texts, for diversity; nil: it goes by tags and fields
	Progress func(done, total int) // may be nil
}

// TestSet is the scored part of a log, and what came before it. Its fields are only read.
type TestSet struct {
	Log  *replay.Log // all of it
	From uint64      // the sequence where the scored part begins

	src   replay.Source
	lists []replay.RankingList
	opt   Options
}

// NewTestSet reads the log and chooses its newest part as training leaves it out for the same share (replay.Log.Newest). Lists
// without a gain are passed over, since they say nothing of an order; a part without any other is an error.
func NewTestSet(ctx context.Context, src replay.Source, state features.Config, opt Options) (*TestSet, error) {
	if opt.TestShare <= 0 || opt.TestShare > 1 {
		return nil, fmt.Errorf("the share of the newest lists is %g; it must be above 0 and at most 1", opt.TestShare)
	}
	if opt.K == 0 {
		opt.K = 10
	}
	if opt.Negatives == 0 {
		opt.Negatives = 19
	}
	log, err := replay.Scan(ctx, src, replay.Options{State: state, Gains: opt.Gains, FollowUpMillis: opt.FollowUp})
	if err != nil {
		return nil, err
	}
	from, err := log.HoldoutStart(opt.TestShare)
	if err != nil {
		return nil, err
	}
	p := &TestSet{Log: log, From: from, src: src, opt: opt}
	if p.lists = log.ClickedImpressions(from, math.MaxUint64); len(log.Lists) == 0 {
		p.lists = log.SampledLists(from, math.MaxUint64, replay.Negatives{Count: opt.Negatives}, 0, rand.New(rand.NewPCG(opt.Seed, 1)))
	}
	if opt.IsHidden != nil {
		p.src, p.lists = withoutItems(src, opt.IsHidden), keepHidden(p.lists, log.Items.IDs(), opt.IsHidden)
	}
	if len(p.lists) == 0 {
		return nil, fmt.Errorf("no list of the scored part was clicked%s; score a larger part",
			map[bool]string{true: " on a hidden item beside another hidden one"}[opt.IsHidden != nil])
	}
	return p, nil
}

// Lists returns how many lists are scored.
func (p *TestSet) Lists() int { return len(p.lists) }

// TrainingLog is the log up to the scored part, without what is hidden: what may be trained on.
func (p *TestSet) TrainingLog() replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for rec, err := range p.src() {
				if err == nil && rec.Seq >= p.From || !yield(rec, err) {
					return
				}
			}
		}
	}
}

// Overlaps reports whether what was trained on, a manifest's ranges, overlaps the scored part.
func (p *TestSet) Overlaps(logs []bundle.LogRange) bool {
	return slices.ContainsFunc(logs, func(r bundle.LogRange) bool {
		return r.Replica == p.Log.Last.Replica && r.Last.Seq >= p.From && r.First.Seq <= p.Log.Last.Seq
	})
}
