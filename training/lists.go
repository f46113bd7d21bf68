package training

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/internal/plural"
	"relish/training/examination"
	"relish/training/replay"
	"relish/training/signals"
)

const (
	// minTrainingLists is the number of lists below which nothing reliable can be learned.
	minTrainingLists = 50
	// minLoggedLists is the number of logged lists below which lists are sampled in addition.
	minLoggedLists = 500
	// minSampledLists is the number of sampled lists up to which one user may have several. More
	// would leave less to the text encoder, see EncoderSplit.
	minSampledLists = 200
)

// trainingLists are the lists that the scorer is trained on, with their log.
type trainingLists struct {
	// log ends where the held-out events begin: nothing that is trained may know anything later,
	// not even the texts of items, or how long the log is.
	log          *replay.Log
	wholeLog     *replay.Log
	holdoutStart uint64 // the held-out events begin at this sequence, MaxUint64 if there are none
	lists        []replay.RankingList
	old          *oldLists // of a warm start; nil without parent
	// examination says how likely users look at each position; nil if train.position_bias is off.
	examination *examination.Estimate
}

// readLists scans the log and chooses the lists.
func readLists(ctx context.Context, in *Inputs) (*trainingLists, error) {
	out := &trainingLists{wholeLog: in.Log, holdoutStart: math.MaxUint64}
	var err error
	if out.wholeLog == nil {
		if out.wholeLog, err = in.Scan(ctx); err != nil {
			return nil, err
		}
	}
	out.log = out.wholeLog
	if in.Holdout > 0 {
		if out.holdoutStart, err = out.log.HoldoutStart(in.Holdout); err != nil {
			return nil, err
		}
		if out.log, err = in.ScanBefore(ctx, out.holdoutStart); err != nil {
			return nil, err
		}
	}
	if in.Config.PositionBias == PositionBiasAuto {
		out.examination = examination.FromLog(out.log, out.holdoutStart)
	}
	if in.Parent != nil {
		out.lists, out.old, err = selectWarmStartLists(in, out.log, out.holdoutStart)
		return out, err
	}
	out.lists = selectLists(out.log, out.holdoutStart, &in.Config, in.PairsEncoder)
	if len(out.lists) < minTrainingLists {
		return nil, tooFewLists(out, in.Holdout)
	}
	return out, nil
}

// tooFewLists says what the log has, what a training needs, and what to do.
func tooFewLists(l *trainingLists, holdout float64) error {
	part := "The log"
	if holdout > 0 {
		part = fmt.Sprintf("Without its newest %.0f %%, which measure the result, the log",
			100*holdout)
	}
	users, items := map[int32]bool{}, map[int32]bool{}
	for i := range l.log.Interactions {
		x := &l.log.Interactions[i]
		users[x.User], items[x.Item] = true, true
	}
	return fmt.Errorf("too little to train on: %s, %d needed. %s has %s of %s with %s, and %s, "+
		"%d of them with a click and an item without one. A usable list is such a shown list, or "+
		"an interaction of the newer half that names no list, with an item that is new to its "+
		"user. Import more events, or let the service log more impressions",
		plural.Count(len(l.lists), "usable list"), minTrainingLists, part,
		plural.Count(len(l.log.Interactions), "interaction"), plural.Count(len(users), "user"),
		plural.Count(len(items), "item"), plural.Count(len(l.log.Lists), "shown list"),
		l.log.ClickedLists)
}

// curve returns the examination probability by position, nil if clicks are taken as they are.
func (l *trainingLists) curve() *examination.Curve {
	if l.examination == nil {
		return nil
	}
	return l.examination.Curve
}

// selectLists returns the lists before a sequence that a scorer is trained on, in order. These are
// the newest logged lists with a click, and sampled lists if there are few of those. pairsEncoder
// leaves out the lists whose questions are for the encoder, see Inputs.PairsEncoder.
func selectLists(
	log *replay.Log, end uint64, cfg *Config, pairsEncoder bool,
) []replay.RankingList {
	lists := log.ClickedImpressions(0, end)
	if pairsEncoder {
		lists = slices.DeleteFunc(lists, func(l replay.RankingList) bool {
			return l.Query != "" && isEncoderQuestion(l.Query)
		})
	}
	if len(lists) < minLoggedLists {
		lists = append(lists, sampleLists(log, end, cfg)...)
		replay.SortLists(lists)
	}
	return lists[max(0, len(lists)-cfg.MaxLists):]
}

// sampleLists makes lists from the newer half of the interactions, whose counters resemble those in
// serving most.
//
// If there are more users than MaxLists, it keeps the ones with the smallest hash, so that every
// training keeps the same users. Otherwise the label of one training could be an input of the text
// encoder in another one (see EncoderSplit).
func sampleLists(log *replay.Log, end uint64, cfg *Config) []replay.RankingList {
	n := 0
	for i := range log.Interactions {
		if log.Interactions[i].Seq < end {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	lists := sampleEnough(log, log.Interactions[n/2].Seq, end, cfg)
	ids := log.Users.IDs()
	hash := make([]uint64, len(ids)) // by user
	for user, id := range ids {
		hash[user] = xxhash.Sum64String("lists " + id)
	}
	slices.SortStableFunc(lists, func(a, b replay.RankingList) int {
		return cmp.Compare(hash[a.User], hash[b.User])
	})
	return lists[:min(len(lists), cfg.MaxLists)]
}

// sampleEnough samples one list for each user, or more if that gives fewer than minSampledLists.
// They are made for a user's newest interactions, because those resemble the next one most.
func sampleEnough(log *replay.Log, from, end uint64, cfg *Config) (lists []replay.RankingList) {
	enough := min(minSampledLists, cfg.MaxLists)
	for perUser := 1; ; perUser *= 2 {
		before := len(lists)
		lists = log.SampledLists(from, end, cfg.negatives(), perUser, cfg.Seed)
		if len(lists) >= enough || len(lists) == before {
			return lists
		}
	}
}

// EncoderSplit returns the part of a log that the text encoder may be fine-tuned on. log ends where
// the held-out events begin. later are longer scans of the same log that the scorer is trained on
// afterwards.
//
// The part is everything a user did before their first list that the training on log, or a later
// one, uses for the scorer. An encoder that has learned from such a list would give its label away
// to the scorer. The corpus has no vectors and no lists.
func EncoderSplit(log *replay.Log, later []*replay.Log, cfg *Config) *signals.Corpus {
	lists := selectLists(log, math.MaxUint64, cfg, false)
	for _, l := range later {
		ids := l.Users.IDs()
		for _, list := range selectLists(l, math.MaxUint64, cfg, false) {
			if user := log.Users.Number(ids[list.User]); user >= 0 {
				lists = append(lists, replay.RankingList{Seq: list.Seq, User: user})
			}
		}
	}
	corpus := signals.NewCrossFit(log, lists, nil, math.MaxUint64).SingleFold().Corpus(0)
	for user := range corpus.Users {
		corpus.Users[user].Lists = nil
	}
	return corpus
}
