package features

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/ranker"
)

// addShownOneByOne is what addShown does, one item after the other.
func (u *UserState) addShownOneByOne(ids []string, t int64, bound int) {
	for _, id := range ids {
		sh := ranker.Shown{Item: id, Time: t}
		if slices.ContainsFunc(u.shown, func(other ranker.Shown) bool {
			return other.Time == t && other.Item == id
		}) {
			continue
		}
		for _, in := range u.recent {
			if in.Item == id && isFollowUp(t, in.Time) {
				sh.Clicked = true
			}
		}
		u.shown = insertNewestFirst(
			u.shown, sh, bound, func(a ranker.Shown) int64 { return a.Time },
		)
	}
}

// A list is added as its items would be, one after the other: with lists of one moment, in any
// order of time, with repeated items, and with more items than are kept.
func TestAddShown(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 3000 {
		var got, want UserState
		bound := 1 + rng.IntN(12)
		for range rng.IntN(3) {
			got.recent = append(got.recent, ranker.Interaction{
				Item: fmt.Sprint(rng.IntN(8)), Time: int64(rng.IntN(4))})
		}
		want.recent = got.recent
		for range 1 + rng.IntN(6) {
			ids := make([]string, rng.IntN(7))
			for i := range ids {
				ids[i] = fmt.Sprint(rng.IntN(8))
			}
			at := int64(rng.IntN(4))
			got.addShown(ids, at, bound)
			want.addShownOneByOne(ids, at, bound)
			if !slices.Equal(got.shown, want.shown) {
				t.Fatalf("round %d, %v at %d, bound %d:\n%+v\nwant\n%+v", round, ids, at, bound,
					got.shown, want.shown)
			}
		}
	}
}
