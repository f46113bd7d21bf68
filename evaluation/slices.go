package evaluation

import (
	"math"

	"relish/training/replay"
)

// Slice is a named part of the scored lists, told from what is known of each, of type T: new users,
// rare items, long histories. Slices may overlap, and a list may be in none.
type Slice[T any] struct {
	Name     string
	Contains func(T) bool
}

// IndicesBySlice returns, for each slice, the indices of the lists that it holds, in order. With Pick it cuts
// any per-list metric of any scorer, so that all of them are compared on the same lists.
func IndicesBySlice[T any](lists []T, by []Slice[T]) [][]int {
	out := make([][]int, len(by))
	for s := range by {
		for i, l := range lists {
			if by[s].Contains(l) {
				out[s] = append(out[s], i)
			}
		}
	}
	return out
}

// SelectValues returns the values at the given indices.
func SelectValues(values []float64, at []int) []float64 {
	out := make([]float64, len(at))
	for i, k := range at {
		out[i] = values[k]
	}
	return out
}

// The slices of a table.
const (
	AllLists    = "all"
	NewUsers    = "first list of a user"  // of whom nothing is known
	KnownUsers  = "user seen before"      // shown something, or did something
	LongHistory = "long history"          // longHistory interactions of the user before
	NewItems    = "a new item is wanted"  // the least known relevant item was shown or taken less than newItem times before
	RareItems   = "a rare item is wanted" // it was so less than rareItem times, and is not new
)

const (
	longHistoryInteractions = 10
	newItemLimit            = 5
	rareItemLimit           = 20
)

// listFacts are what is known of a list before it is shown, and how well known what is wanted of it is.
type listFacts struct {
	newUser    bool
	history    int     // interactions of the user
	leastKnown float64 // how often the least known relevant item was shown or taken
}

func (c *popularityCounts) describe(l *replay.Example) listFacts {
	f := listFacts{history: c.userInteractions[l.Request.User], leastKnown: math.Inf(1)}
	f.newUser = l.NewUser && f.history == 0
	for i, g := range l.Gains {
		if id := l.Request.Candidates[i].ID; g > 0 {
			f.leastKnown = min(f.leastKnown, c.shown[id]+c.clicks[id])
		}
	}
	return f
}

var tableSlices = []Slice[listFacts]{
	{AllLists, func(listFacts) bool { return true }},
	{NewUsers, func(f listFacts) bool { return f.newUser }},
	{KnownUsers, func(f listFacts) bool { return !f.newUser }},
	{LongHistory, func(f listFacts) bool { return f.history >= longHistoryInteractions }},
	{NewItems, func(f listFacts) bool { return f.leastKnown < newItemLimit }},
	{RareItems, func(f listFacts) bool { return f.leastKnown >= newItemLimit && f.leastKnown < rareItemLimit }},
}
