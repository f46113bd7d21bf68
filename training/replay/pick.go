package replay

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Pick is one list to be replayed, with its labels.
type Pick struct {
	Seq   uint64 // of the impression, or of the interaction that the list is made for
	User  int32
	Items []int32
	Gains []float32 // aligned with Items
	Shown bool      // a logged impression; otherwise a made list
}

// clicked reports whether the pick says anything of an order.
func (p *Pick) clicked() bool {
	return len(p.Items) > 1 && slices.Max(p.Gains) > 0
}

// Newest returns the sequence at which the newest share of the impressions begins; of the interactions where there are
// no impressions.
func (l *Log) Newest(share float64) (seq uint64, err error) {
	switch {
	case len(l.Lists) > 0:
		at := int((1 - share) * float64(l.Dropped+len(l.Lists)))
		if at -= l.Dropped; at < len(l.Lists) {
			return l.Lists[max(0, at)].Seq, nil
		}
	case len(l.Steps) > 0:
		if at := int((1 - share) * float64(len(l.Steps))); at < len(l.Steps) {
			return l.Steps[at].Seq, nil
		}
	default:
		return 0, errEmpty
	}
	return l.Last.Seq + 1, nil
}

// Shown returns the clicked impressions with from <= sequence < to.
func (l *Log) Shown(from, to uint64) []Pick {
	return slices.DeleteFunc(l.Impressions(from, to), func(p Pick) bool { return !p.clicked() })
}

// Impressions returns all impressions with from <= sequence < to, clicked or not.
func (l *Log) Impressions(from, to uint64) (picks []Pick) {
	for i := range l.Lists {
		if x := &l.Lists[i]; x.Seq >= from && x.Seq < to {
			picks = append(picks, Pick{Seq: x.Seq, User: x.User, Items: x.Items, Gains: x.Gains, Shown: true})
		}
	}
	return picks
}

// Negatives says what the made lists consist of, beside the item that was taken.
type Negatives struct {
	Count   int     // per list
	Popular float64 // share of them that is drawn by popularity; the rest are drawn from all items alike
}

// Made returns lists made for interactions with from <= sequence < to that name no impression: the item among items that
// the user never took, in random order. Interactions of a user without a history, or with an item he had before, make
// none. perUser > 0 takes each user's newest only.
func (l *Log) Made(from, to uint64, n Negatives, perUser int, rng *rand.Rand) []Pick {
	pool := l.described()
	if len(pool) < 2 {
		return nil
	}
	byUser := l.byUser()
	var picks []Pick
	for _, steps := range byUser {
		made := 0
		for k := len(steps) - 1; k > 0 && (perUser == 0 || made < perUser); k-- {
			s := &l.Steps[steps[k]]
			if s.Seq < from || s.Seq >= to || s.List || l.had(steps[:k], s.Item) {
				continue
			}
			if p := l.make(s, steps, pool, n, rng); p.clicked() {
				picks = append(picks, p)
				made++
			}
		}
	}
	SortPicks(picks)
	return picks
}

// SortPicks puts picks in the order in which Walk takes them.
func SortPicks(picks []Pick) {
	slices.SortFunc(picks, func(a, b Pick) int { return cmp.Compare(a.Seq, b.Seq) })
}

// byUser returns each user's places in Steps.
func (l *Log) byUser() [][]int32 {
	out := make([][]int32, l.Users.Len())
	for i := range l.Steps {
		u := l.Steps[i].User
		out[u] = append(out[u], int32(i))
	}
	return out
}

func (l *Log) had(steps []int32, item int32) bool {
	return slices.ContainsFunc(steps, func(at int32) bool { return l.Steps[at].Item == item })
}

// described returns the items of the catalogue; all items where there is none.
func (l *Log) described() (pool []int32) {
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

func (l *Log) make(s *Step, history, pool []int32, n Negatives, rng *rand.Rand) Pick {
	p := Pick{Seq: s.Seq, User: s.User, Items: []int32{s.Item}}
	for tries := 0; len(p.Items) <= n.Count && tries < triesPerNegative*n.Count; tries++ {
		item := pool[rng.IntN(len(pool))]
		if rng.Float64() < n.Popular {
			item = l.Steps[rng.IntN(len(l.Steps))].Item
		}
		if !slices.Contains(p.Items, item) && !l.had(history, item) {
			p.Items = append(p.Items, item)
		}
	}
	rng.Shuffle(len(p.Items), func(i, j int) { p.Items[i], p.Items[j] = p.Items[j], p.Items[i] })
	p.Gains = make([]float32, len(p.Items))
	p.Gains[slices.Index(p.Items, s.Item)] = s.Gain
	return p
}
