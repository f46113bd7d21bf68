package training

import (
	"github.com/cespare/xxhash/v2"

	"relish/ranker"
	"relish/training/match"
	"relish/training/replay"
)

// folds is into how many parts users fall. Matchers that score a part's lists are trained on the other parts.
const folds = 5

// foldOf is a user's part, by a hash: neither the order of users nor their ids say anything.
func foldOf(id string) int { return int(xxhash.Sum64String("fold "+id) % folds) }

// corpora makes what matchers learn from, out of one log.
type corpora struct {
	log    *replay.Log
	items  *ranker.ItemTable
	infos  []*ranker.ItemInfo
	vecs   [][]float32
	fold   []int          // by user
	hidden map[int32]bool // items whose behaviour nobody may see
	until  uint64         // sequences from here on are not learned from
}

// lookupChunk bounds how many vectors are asked for at once.
const lookupChunk = 4096

func newCorpora(log *replay.Log, vectors ranker.Vectors, hidden map[int32]bool, until uint64) *corpora {
	ids := log.Items.IDs()
	c := &corpora{log: log, items: ranker.NewItemTable(ids), infos: make([]*ranker.ItemInfo, len(ids)), vecs: make([][]float32, len(ids)),
		fold: make([]int, log.Users.Len()), hidden: hidden, until: until}
	for i, id := range ids {
		c.infos[i] = log.Catalogue.Item(id)
	}
	for from := 0; vectors != nil && from < len(ids); from += lookupChunk {
		to := min(len(ids), from+lookupChunk)
		vectors.Lookup(c.infos[from:to], c.vecs[from:to])
	}
	for u, id := range log.Users.IDs() {
		c.fold[u] = foldOf(id)
	}
	return c
}

// all leaves no part out.
const all = -1

// without returns the corpus of all users but those of a fold.
func (c *corpora) without(fold int) *match.Corpus {
	out := &match.Corpus{Items: c.items, Infos: c.infos, Vectors: c.vecs}
	at := make([]int32, len(c.fold))
	for u := range at {
		if at[u] = -1; c.fold[u] != fold {
			at[u] = int32(len(out.Users))
			out.Users = append(out.Users, match.User{})
		}
	}
	for i := range c.log.Steps {
		s := &c.log.Steps[i]
		if s.Seq >= c.until || at[s.User] < 0 || c.hidden[s.Item] {
			continue
		}
		u := &out.Users[at[s.User]]
		u.Steps = append(u.Steps, match.Step{Item: s.Item, Gain: s.Gain})
	}
	for i := range c.log.Lists {
		l := &c.log.Lists[i]
		if l.Seq >= c.until || at[l.User] < 0 {
			continue
		}
		u := &out.Users[at[l.User]]
		u.Lists = append(u.Lists, match.List{Items: c.visible(l.Items), Gains: l.Gains})
	}
	return out
}

// visible puts -1 in place of hidden items.
func (c *corpora) visible(items []int32) []int32 {
	if len(c.hidden) == 0 {
		return items
	}
	out := make([]int32, len(items))
	for i, item := range items {
		if out[i] = item; c.hidden[item] {
			out[i] = -1
		}
	}
	return out
}
