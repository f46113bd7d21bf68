package replay

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// RankingList is one list to be replayed, with its labels.
type RankingList struct {
	Seq    uint64 // of the impression, or of the interaction that the list is sampled for
	User   int32
	Items  []int32
	Gains  []float32 // aligned with Items
	Logged bool      // an impression; false for a sampled list
	Query  string    // see LoggedList.Query; "" for a sampled list
}

// isInformative reports whether the gains of a list say that one order is better than another.
func isInformative(gains []float32) bool {
	return len(gains) > 1 && slices.Min(gains) < slices.Max(gains)
}

// SortLists sorts lists by sequence, as Walk needs them.
func SortLists(lists []RankingList) {
	slices.SortFunc(lists, func(a, b RankingList) int { return cmp.Compare(a.Seq, b.Seq) })
}

// ClickedImpressions returns the impressions with from <= sequence < to whose items differ in gain:
// without any, or with the same one everywhere, no order is better than another.
func (l *Log) ClickedImpressions(from, to uint64) []RankingList {
	return slices.DeleteFunc(l.Impressions(from, to), func(r RankingList) bool {
		return !isInformative(r.Gains)
	})
}

// Impressions returns the impressions with from <= sequence < to, without the incomplete ones:
// nothing is learned from other features than those that were served.
func (l *Log) Impressions(from, to uint64) (lists []RankingList) {
	for i := range l.Lists {
		if x := &l.Lists[i]; x.Seq >= from && x.Seq < to && !x.Incomplete {
			lists = append(lists, RankingList{
				Seq: x.Seq, User: x.User, Items: x.Items, Gains: x.Gains, Logged: true,
				Query: x.Query,
			})
		}
	}
	return lists
}

// Negatives describes the items of a sampled list besides the one that the user chose.
type Negatives struct {
	Count   int     // in each list
	Popular float64 // share drawn by popularity, 0 to 1; the others are drawn uniformly
}

// maxTriesPerNegative bounds the search for items that the user never chose.
const maxTriesPerNegative = 50

// SampledLists returns lists for the interactions with from <= sequence < to that name no
// impression. Each has the item of the interaction among other items, in random order.
//
// The items are those that existed just before the interaction (see ItemChange) and that the user
// had not interacted with until then. Nothing that happens later changes a list: a list depends on
// seed, on the records before it and on its own record.
//
// There is no list for a user's first interaction, for an item that the user already had, and for
// an item that did not exist before: nobody could have ranked it. perUser > 0 keeps only the newest
// lists of each user.
func (l *Log) SampledLists(
	from, to uint64,
	n Negatives,
	perUser int,
	seed uint64,
) []RankingList {
	histories := l.interactionsByUser()
	pool := newItemPool(l)
	var lists []RankingList
	for _, c := range l.sampledInteractions(histories, from, to, perUser) {
		x := &l.Interactions[c.index]
		pool.advance(x.Seq)
		rng := rand.New(rand.NewPCG(seed, x.Seq))
		list := l.sampleList(int(c.index), histories[x.User][:c.before], pool, n, rng)
		if isInformative(list.Gains) {
			lists = append(lists, list)
		}
	}
	return lists
}

// sampledInteraction is an interaction that a list is sampled for.
type sampledInteraction struct {
	index  int32 // of Log.Interactions
	before int   // interactions of the user before it
}

// sampledInteractions returns the interactions that SampledLists makes lists for, in order.
func (l *Log) sampledInteractions(
	histories [][]int32, from, to uint64, perUser int,
) (out []sampledInteraction) {
	pool := newItemPool(l)
	before := make([]int, l.Users.Len())
	byUser := make([][]sampledInteraction, l.Users.Len())
	for i := range l.Interactions {
		x := &l.Interactions[i]
		if x.Seq >= to {
			break
		}
		k := before[x.User]
		before[x.User]++
		if x.Seq < from || x.HasImpression || k == 0 || l.hasItem(histories[x.User][:k], x.Item) {
			continue
		}
		if pool.advance(x.Seq); !pool.has(x.Item) {
			continue
		}
		byUser[x.User] = append(byUser[x.User], sampledInteraction{int32(i), k})
		if n := len(byUser[x.User]); perUser > 0 && n > perUser {
			byUser[x.User] = byUser[x.User][n-perUser:]
		}
	}
	out = slices.Concat(byUser...)
	slices.SortFunc(out, func(a, b sampledInteraction) int { return cmp.Compare(a.index, b.index) })
	return out
}

// interactionsByUser returns indices into Interactions for each user.
func (l *Log) interactionsByUser() [][]int32 {
	out := make([][]int32, l.Users.Len())
	for i := range l.Interactions {
		user := l.Interactions[i].User
		out[user] = append(out[user], int32(i))
	}
	return out
}

// hasItem reports whether one of the interactions, given by index, is with the item.
func (l *Log) hasItem(history []int32, item int32) bool {
	return slices.ContainsFunc(
		history,
		func(i int32) bool { return l.Interactions[i].Item == item },
	)
}

// sampleList makes the list of one interaction, given by index. history is what the user did
// before it, and pool has the items that existed before it.
func (l *Log) sampleList(
	interaction int,
	history []int32,
	pool *itemPool,
	n Negatives,
	rng *rand.Rand,
) RankingList {
	x := &l.Interactions[interaction]
	list := RankingList{Seq: x.Seq, User: x.User, Items: []int32{x.Item}}
	maxTries := maxTriesPerNegative * n.Count
	for tries := 0; len(list.Items) <= n.Count && tries < maxTries; tries++ {
		item := pool.items[rng.IntN(len(pool.items))]
		if rng.Float64() < n.Popular {
			item = l.Interactions[rng.IntN(interaction)].Item
		}
		if pool.has(item) && !slices.Contains(list.Items, item) && !l.hasItem(history, item) {
			list.Items = append(list.Items, item)
		}
	}
	rng.Shuffle(len(list.Items), func(i, j int) {
		list.Items[i], list.Items[j] = list.Items[j], list.Items[i]
	})
	list.Gains = make([]float32, len(list.Items))
	list.Gains[slices.Index(list.Items, x.Item)] = x.Gain
	return list
}
