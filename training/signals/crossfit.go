package signals

import (
	"math"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
	"relish/training/examination"
	"relish/training/replay"
)

// Cross-fitting keeps the scorer from trusting a signal that has already seen the answer. A signal
// that scores a user's ranking lists is trained without anything that this user did from their
// first scored list on.
//
// One set of signals for each user would cost too much. Users are divided into folds by a hash of
// their id, and each fold gets its own set of signals.

const (
	// Folds bounds how many times each signal is trained for cross-fitting.
	Folds = 5

	// NoFold makes CrossFit.Corpus include what all users did.
	NoFold = -1

	// singleFoldShare is the largest share of the log that MergeFolds may exclude from the signals'
	// training. Up to this share, one fold holds all users and each signal is trained once.
	singleFoldShare = 0.2

	// lookupChunk bounds how many vectors are looked up at once.
	lookupChunk = 4096
)

// CrossFit divides one replayed log into training corpora. It is read-only and safe for concurrent
// use; the methods that change the division return a copy.
type CrossFit struct {
	log       *replay.Log
	items     *ranker.ItemTable
	itemInfos []*ranker.ItemInfo // by item: its content at the end of the log, nil if there is none
	vectors   [][]float32        // by item, nil for an item without text
	fold      []int              // by user, 0 to Folds-1
	firstList []uint64           // by user: sequence of the first scored list, MaxUint64 if none
	questions []question         // see ReadQuestions
	holdout   uint64             // events from this sequence on are held out

	// Examination is passed to every corpus; nil is 1 everywhere.
	Examination *examination.Curve
}

// NewCrossFit divides the users of a log into folds by a hash of their ids. lists are the lists
// that the scorer is trained on. vectors may be nil.
func NewCrossFit(
	log *replay.Log,
	lists []replay.RankingList,
	vectors ranker.Vectors,
	holdout uint64,
) *CrossFit {
	ids := log.Items.IDs()
	c := &CrossFit{
		log: log, items: ranker.NewItemTable(ids), itemInfos: make([]*ranker.ItemInfo, len(ids)),
		vectors: make([][]float32, len(ids)), fold: make([]int, log.Users.Len()),
		firstList: make([]uint64, log.Users.Len()), holdout: holdout,
	}
	for i, id := range ids {
		c.itemInfos[i] = log.Catalogue.Item(id)
	}
	for from := 0; vectors != nil && from < len(ids); from += lookupChunk {
		to := min(len(ids), from+lookupChunk)
		vectors.Lookup(c.itemInfos[from:to], c.vectors[from:to])
	}
	for user, id := range log.Users.IDs() {
		c.fold[user], c.firstList[user] = FoldOf(id), math.MaxUint64
	}
	for _, l := range lists {
		c.firstList[l.User] = min(c.firstList[l.User], l.Seq)
	}
	return c
}

// FoldOf returns a user's fold by the hash, 0 to Folds-1. It depends on the id alone, so that the
// next training puts the same user into the same fold.
func FoldOf(userID string) int { return int(xxhash.Sum64String("fold "+userID) % Folds) }

// Fold returns the fold of a user of the log.
func (c *CrossFit) Fold(user int32) int { return c.fold[user] }

// SingleFold returns the same log with all users in fold 0.
func (c *CrossFit) SingleFold() *CrossFit {
	out := *c
	out.fold = make([]int, len(c.fold))
	return &out
}

// MergeFolds puts all users into one fold if that excludes only few interactions and lists from the
// signals' training (singleFoldShare). Signals are then trained once. Otherwise it returns c.
func (c *CrossFit) MergeFolds() *CrossFit {
	total, leftOut := 0, 0
	count := func(user int32, seq uint64) {
		if seq >= c.holdout {
			return
		}
		total++
		if seq >= c.firstList[user] {
			leftOut++
		}
	}
	for i := range c.log.Interactions {
		count(c.log.Interactions[i].User, c.log.Interactions[i].Seq)
	}
	for i := range c.log.Lists {
		count(c.log.Lists[i].User, c.log.Lists[i].Seq)
	}
	if float64(leftOut) > singleFoldShare*float64(total) {
		return c
	}
	return c.SingleFold()
}

// Before returns the same log with everything from a sequence on held out as well.
func (c *CrossFit) Before(seq uint64) *CrossFit {
	out := *c
	out.holdout = min(c.holdout, seq)
	return &out
}

// Corpus returns the events that the signals of one fold may learn from: everything before the
// holdout, except what users of that fold did and saw from their first scored list on. The only
// item of a user is left out if none of the interactions with it counts for the item.
func (c *CrossFit) Corpus(fold int) *Corpus {
	out := &Corpus{
		Items: c.items, ItemInfos: c.itemInfos, Vectors: c.vectors,
		Users: make([]UserHistory, len(c.fold)), Examination: c.Examination,
	}
	isVisible := func(user int32, seq uint64) bool {
		return seq < c.holdout && (c.fold[user] != fold || seq < c.firstList[user])
	}
	counts := make([]bool, len(c.fold)) // by user: whether any of the interactions counts
	for i := range c.log.Interactions {
		if x := &c.log.Interactions[i]; isVisible(x.User, x.Seq) {
			u := &out.Users[x.User]
			u.Interactions = append(u.Interactions, Interaction{Item: x.Item, Gain: x.Gain})
			counts[x.User] = counts[x.User] || !x.Uncounted
		}
	}
	for user, some := range counts {
		if !some {
			out.Users[user].Interactions = nil
		}
	}
	for i := range c.log.Lists {
		if l := &c.log.Lists[i]; isVisible(l.User, l.Seq) {
			u := &out.Users[l.User]
			u.Lists = append(u.Lists, List{Items: l.Items, Gains: l.Gains})
		}
	}
	out.Questions = c.corpusQuestions(isVisible)
	return out
}
