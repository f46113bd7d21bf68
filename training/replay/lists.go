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
}

// isInformative reports whether the labels say anything about an order.
func (r *RankingList) isInformative() bool {
	return len(r.Items) > 1 && slices.Max(r.Gains) > 0
}

// SortLists sorts lists by sequence, as Walk needs them.
func SortLists(lists []RankingList) {
	slices.SortFunc(lists, func(a, b RankingList) int { return cmp.Compare(a.Seq, b.Seq) })
}

// ClickedImpressions returns the impressions with a gain and from <= sequence < to.
func (l *Log) ClickedImpressions(from, to uint64) []RankingList {
	return slices.DeleteFunc(l.Impressions(from, to), func(r RankingList) bool {
		return !r.isInformative()
	})
}

// Impressions returns all impressions with from <= sequence < to.
func (l *Log) Impressions(from, to uint64) (lists []RankingList) {
	for i := range l.Lists {
		if x := &l.Lists[i]; x.Seq >= from && x.Seq < to {
			lists = append(lists,
				RankingList{Seq: x.Seq, User: x.User, Items: x.Items, Gains: x.Gains, Logged: true})
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
// impression. Each has the item of the interaction among items that the user never interacted with,
// in random order.
//
// There is no list for a user's first interaction, and none for an item that the user already had.
// perUser > 0 keeps only the newest lists of each user.
func (l *Log) SampledLists(
	from, to uint64,
	n Negatives,
	perUser int,
	rng *rand.Rand,
) []RankingList {
	pool := l.samplingPool()
	if len(pool) < 2 {
		return nil
	}
	var lists []RankingList
	for _, history := range l.interactionsByUser() {
		sampled := 0
		for k := len(history) - 1; k > 0 && (perUser == 0 || sampled < perUser); k-- {
			x := &l.Interactions[history[k]]
			if x.Seq < from || x.Seq >= to || x.HasImpression || l.hasItem(history[:k], x.Item) {
				continue
			}
			if list := l.sampleList(x, history, pool, n, rng); list.isInformative() {
				lists = append(lists, list)
				sampled++
			}
		}
	}
	SortLists(lists)
	return lists
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

// samplingPool returns the items of the catalogue, or all items if the catalogue is empty.
func (l *Log) samplingPool() (pool []int32) {
	for i, id := range l.Items.IDs() {
		if l.Catalogue.Item(id) != nil {
			pool = append(pool, int32(i))
		}
	}
	if len(pool) == 0 {
		for i := range l.Items.Len() {
			pool = append(pool, int32(i))
		}
	}
	return pool
}

// sampleList makes the list of one interaction. history is the user's whole history.
func (l *Log) sampleList(
	x *Interaction,
	history, pool []int32,
	n Negatives,
	rng *rand.Rand,
) RankingList {
	list := RankingList{Seq: x.Seq, User: x.User, Items: []int32{x.Item}}
	maxTries := maxTriesPerNegative * n.Count
	for tries := 0; len(list.Items) <= n.Count && tries < maxTries; tries++ {
		item := pool[rng.IntN(len(pool))]
		if rng.Float64() < n.Popular {
			item = l.Interactions[rng.IntN(len(l.Interactions))].Item
		}
		if !slices.Contains(list.Items, item) && !l.hasItem(history, item) {
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
