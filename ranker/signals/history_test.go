package signals_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// changeHistory changes one thing that a signal reads of the user's history.
func (w *world) changeHistory(r *rand.Rand, in *ranker.SignalInput) {
	s := in.State
	if len(s.Recent) == 0 || len(s.Shown) == 0 {
		return
	}
	k := r.IntN(len(s.Recent))
	switch r.IntN(7) {
	case 0: // the user does something
		id := w.anyID()
		s.Recent = slices.Insert(s.Recent, 0, ranker.Interaction{Item: id, Time: s.Recent[0].Time})
		s.RecentItems = slices.Insert(s.RecentItems, 0, w.infos[id])
		in.RecentVectors = slices.Insert(in.RecentVectors, 0, w.vectors[id])
	case 1: // the oldest interaction leaves
		n := len(s.Recent) - 1
		s.Recent, s.RecentItems, in.RecentVectors =
			s.Recent[:n], s.RecentItems[:n], in.RecentVectors[:n]
	case 2: // an item gets another title
		s.RecentItems[k] = ranker.NewItemInfo(ranker.Item{Title: "owl " + vocabulary[k%15]}, nil)
	case 3: // a text is encoded, or a vector is lost
		if in.RecentVectors[k] == nil {
			in.RecentVectors[k] = unit(r, w.text)
		} else {
			in.RecentVectors[k] = nil
		}
	case 4: // a list is shown
		shown := ranker.Shown{Item: w.anyID(), Time: s.Shown[0].Time + 1000}
		s.Shown = slices.Insert(s.Shown, 0, shown)
	case 5: // a shown item is clicked
		i := r.IntN(len(s.Shown))
		s.Shown[i].Clicked = !s.Shown[i].Clicked
	case 6: // the oldest shown item leaves
		s.Shown = s.Shown[:len(s.Shown)-1]
	}
}

// Signals that keep what they computed of a history return the same bits as signals that do not,
// whatever changes between two rankings.
func TestKeptHistoriesChangeNoBit(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(seed, 20)
		tower := randomModel(w.r, 1, 8, 2, 5, w.text, w.known)
		tower.Items = w.table
		all := []ranker.Signal{
			signals.TextSimilarity{}, signals.TokenOverlap{}, twoTower(t, tower),
		}
		for _, s := range w.trained() {
			all = append(all, s)
		}
		r := rand.New(rand.NewPCG(seed, 3))
		cache := ranker.NewHistoryCache(1 << 20)
		var users []*ranker.SignalInput
		for u := range 3 {
			in := w.input(12, 6, 12)
			in.Request.User = strconv.Itoa(u)
			users = append(users, in)
		}
		for range 60 {
			in := users[r.IntN(len(users))]
			if r.IntN(2) == 0 {
				w.changeHistory(r, in)
			}
			kept := *in
			kept.UseHistory(cache)
			for _, s := range all {
				want, got := run(t, s, in), run(t, s, &kept)
				for i := range want {
					if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
						t.Fatalf("seed %d: %T, cell %d: %v with the cache, %v without",
							seed, s, i, got[i], want[i])
					}
				}
			}
		}
	}
}
