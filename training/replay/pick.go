package replay

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// RankingList is one list to be replayed, with its labels.
type RankingList struct {
	Seq    uint64 // of the impression, or of the interaction that the list is made for
	User   int32
	Items  []int32
	Gains  []float32 // aligned with Items
	Logged bool      // a logged impression; otherwise a made list
}

// informative reports whether the pick says anything of an order.
func (p *RankingList) informative() bool {
	return len(p.Items) > 1 && slices.Max(p.Gains) > 0
}

// HoldoutStart returns the sequence at which the newest share of the impressions begins; of the interactions where there are
// no impressions.
func (l *Log) HoldoutStart(share float64) (seq uint64, err error) {
	switch {
	case len(l.Lists) > 0:
		at := int((1 - share) * float64(l.DroppedLists+len(l.Lists)))
		if at -= l.DroppedLists; at < len(l.Lists) {
			return l.Lists[max(0, at)].Seq, nil
		}
	case len(l.Interactions) > 0:
		if at := int((1 - share) * float64(len(l.Interactions))); at < len(l.Interactions) {
			return l.Interactions[at].Seq, nil
		}
	default:
		return 0, errEmptyLog
	}
	return l.Last.Seq + 1, nil
}

// ClickedImpressions returns the clicked impressions with from <= sequence < to.
func (l *Log) ClickedImpressions(from, to uint64) []RankingList {
	return slices.DeleteFunc(l.Impressions(from, to), func(p RankingList) bool { return !p.informative() })
}

// Impressions returns all impressions with from <= sequence < to, clicked or not.
func (l *Log) Impressions(from, to uint64) (picks []RankingList) {
	for i := range l.Lists {
		if x := &l.Lists[i]; x.Seq >= from && x.Seq < to {
			picks = append(picks, RankingList{Seq: x.Seq, User: x.User, Items: x.Items, Gains: x.Gains, Logged: true})
		}
	}
	return picks
}

// Negatives says what the made lists consist of, beside the item that was taken.
type Negatives struct {
	Count   int     // per list
	Popular float64 // share of them that is drawn by popularity; the rest are drawn from all items alike
}

// SampledLists returns lists made for interactions with from <= sequence < to that name no impression: the item among items that
// the user never took, in random order. Interactions of a user without a history, or with an item he had before, make
// none. perUser > 0 takes each user's newest only.
func (l *Log) SampledLists(from, to uint64, n Negatives, perUser int, rng *rand.Rand) []RankingList {
	pool := l.samplingPool()
	if len(pool) < 2 {
		return nil
	}
	byUser := l.interactionsByUser()
	var picks []RankingList
	for _, steps := range byUser {
		made := 0
		for k := len(steps) - 1; k > 0 && (perUser == 0 || made < perUser); k-- {
			s := &l.Interactions[steps[k]]
			if s.Seq < from || s.Seq >= to || s.HasImpression || l.hasInteracted(steps[:k], s.Item) {
				continue
			}
			if p := l.sampleList(s, steps, pool, n, rng); p.informative() {
				picks = append(picks, p)
				made++
			}
		}
	}
	SortLists(picks)
	return picks
}

// SortLists puts picks in the order in which Walk takes them.
func SortLists(picks []RankingList) {
	slices.SortFunc(picks, func(a, b RankingList) int { return cmp.Compare(a.Seq, b.Seq) })
}

// interactionsByUser returns each user's places in Steps.
func (l *Log) interactionsByUser() [][]int32 {
	out := make([][]int32, l.Users.Len())
	for i := range l.Interactions {
		u := l.Interactions[i].User
		out[u] = append(out[u], int32(i))
	}
	return out
}

func (l *Log) hasInteracted(steps []int32, item int32) bool {
	return slices.ContainsFunc(steps, func(at int32) bool { return l.Interactions[at].Item == item })
}

// samplingPool returns the items of the catalogue; all items where there is none.
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

// triesPerNegative bounds the search for an item that the user never took.
const triesPerNegative = 50

func (l *Log) sampleList(s *Interaction, history, pool []int32, n Negatives, rng *rand.Rand) RankingList {
	p := RankingList{Seq: s.Seq, User: s.User, Items: []int32{s.Item}}
	for tries := 0; len(p.Items) <= n.Count && tries < triesPerNegative*n.Count; tries++ {
		item := pool[rng.IntN(len(pool))]
		if rng.Float64() < n.Popular {
			item = l.Interactions[rng.IntN(len(l.Interactions))].Item
		}
		if !slices.Contains(p.Items, item) && !l.hasInteracted(history, item) {
			p.Items = append(p.Items, item)
		}
	}
	rng.Shuffle(len(p.Items), func(i, j int) { p.Items[i], p.Items[j] = p.Items[j], p.Items[i] })
	p.Gains = make([]float32, len(p.Items))
	p.Gains[slices.Index(p.Items, s.Item)] = s.Gain
	return p
}
