package features_test

import (
	"testing"

	"relish/features/storetest"
	"relish/ranker"
)

// A list that the server recorded and that the client reports again is in the user's shown items
// once. Else such a client would halve the lists that a signal can learn from, and every item would
// count twice in it.
func TestListReportedTwiceIsShownOnce(t *testing.T) {
	s := newFeed(storetest.Config())
	s.add(
		shown("u", t0, "a", "b", "c"), shown("u", t0, "c", "b", "a"),
		did("u", "click", "b", t0+5), shown("u", t0+60_000, "a", "d"),
	)
	sch := schemaOf(t, ranker.Feature{Kind: ranker.KindHistory})
	st := read(t, s.State, sch, t0+60_000, "u", "b")
	clicks, times := 0, map[string]int{}
	for _, x := range st.Shown {
		times[x.Item]++
		if x.Clicked {
			clicks++
		}
	}
	if len(st.Shown) != 5 || clicks != 1 || times["a"] != 2 || times["b"] != 1 {
		t.Errorf("shown %+v", st.Shown)
	}
	if got := st.Counts[0]; got != (ranker.ItemCounts{Shown: 2, Actions: 1}) {
		t.Errorf("counts of b: %+v", got)
	}
}
