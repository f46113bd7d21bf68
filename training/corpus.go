package training

import (
	"math"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
	"relish/training/replay"
	"relish/training/signals"
)

// folds is into how many parts users fall at most. Matchers that score a part's lists are trained without what its users
// did from their first list on.
const folds = 5

// onePart is the share of all steps and lists that may be left out at once. Where the blend's lists are few beside the
// log, all users are one part: one training of the matchers then scores them all.
const onePart = 0.2

// foldOf is a user's part, by a hash: neither the order of users nor their ids say anything.
func foldOf(id string) int { return int(xxhash.Sum64String("fold "+id) % folds) }

// corpora makes what matchers learn from, out of one log.
type corpora struct {
	log   *replay.Log
	items *ranker.ItemTable
	infos []*ranker.ItemInfo
	vecs  [][]float32
	fold  []int    // by user
	first []uint64 // by user: the sequence of his first list that the blend learns from
	until uint64   // sequences from here on are not learned from
}

// lookupChunk bounds how many vectors are asked for at once.
const lookupChunk = 4096

func newCorpora(log *replay.Log, picks []replay.RankingList, vectors ranker.Vectors, until uint64) *corpora {
	ids := log.Items.IDs()
	c := &corpora{log: log, items: ranker.NewItemTable(ids), infos: make([]*ranker.ItemInfo, len(ids)), vecs: make([][]float32, len(ids)),
		fold: make([]int, log.Users.Len()), first: make([]uint64, log.Users.Len()), until: until}
	for i, id := range ids {
		c.infos[i] = log.Catalogue.Item(id)
	}
	for from := 0; vectors != nil && from < len(ids); from += lookupChunk {
		to := min(len(ids), from+lookupChunk)
		vectors.Lookup(c.infos[from:to], c.vecs[from:to])
	}
	for u, id := range log.Users.IDs() {
		c.fold[u], c.first[u] = foldOf(id), math.MaxUint64
	}
	for _, p := range picks {
		c.first[p.User] = min(c.first[p.User], p.Seq)
	}
	return c
}

// unite makes all users one part if that leaves enough to learn from.
func (c *corpora) unite() {
	total, out := 0, 0
	count := func(user int32, seq uint64) {
		if seq < c.until {
			total++
		}
		if seq < c.until && seq >= c.first[user] {
			out++
		}
	}
	for i := range c.log.Interactions {
		count(c.log.Interactions[i].User, c.log.Interactions[i].Seq)
	}
	for i := range c.log.Lists {
		count(c.log.Lists[i].User, c.log.Lists[i].Seq)
	}
	if float64(out) <= onePart*float64(total) {
		clear(c.fold)
	}
}

// all leaves no part out.
const all = -1

// without returns the corpus without what users of the fold did from their first list on.
func (c *corpora) without(fold int) *signals.Corpus {
	out := &signals.Corpus{Items: c.items, ItemInfos: c.infos, Vectors: c.vecs, Users: make([]signals.UserHistory, len(c.fold))}
	seen := func(user int32, seq uint64) bool {
		return seq < c.until && (c.fold[user] != fold || seq < c.first[user])
	}
	for i := range c.log.Interactions {
		if s := &c.log.Interactions[i]; seen(s.User, s.Seq) {
			u := &out.Users[s.User]
			u.Interactions = append(u.Interactions, signals.Interaction{Item: s.Item, Gain: s.Gain})
		}
	}
	for i := range c.log.Lists {
		if l := &c.log.Lists[i]; seen(l.User, l.Seq) {
			u := &out.Users[l.User]
			u.Lists = append(u.Lists, signals.List{Items: l.Items, Gains: l.Gains})
		}
	}
	return out
}
