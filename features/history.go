package features

import (
	"slices"

	"relish/ranker"
)

// ---- Histories: the recent interactions and the shown items of a user ----

// addShown adds the items of a list that was shown at t to the user's shown items, of which at most
// bound are kept, newest first. Of one list, later items come first. An item that was shown at the
// same moment already is left out: a client may report a list that the server recorded when it
// answered.
func (u *UserState) addShown(ids []string, t int64, bound int) {
	at := newestFirst(u.shown, t, func(a ranker.Shown) int64 { return a.Time })
	room := bound - at // for entries of t or before
	if room <= 0 {
		return
	}
	same := at // the entries of t are those from at to same
	for same < len(u.shown) && u.shown[same].Time == t {
		same++
	}
	var after []ranker.Interaction // that arrived before the impression
	for _, in := range u.recent {
		if isFollowUp(t, in.Time) {
			after = append(after, in)
		}
	}
	added, first := make([]ranker.Shown, len(ids)), len(ids)
	for _, id := range ids {
		n := len(ids) - first
		is := func(sh ranker.Shown) bool { return sh.Item == id }
		if slices.ContainsFunc(added[first:][:min(n, room)], is) ||
			slices.ContainsFunc(u.shown[at:min(same, at+max(0, room-n))], is) {
			continue
		}
		clicked := slices.ContainsFunc(after,
			func(in ranker.Interaction) bool { return in.Item == id })
		first--
		added[first] = ranker.Shown{Item: id, Time: t, Clicked: clicked}
	}
	if added = added[first:]; len(added) == 0 {
		return
	}
	left := min(len(u.shown), at+max(0, room-len(added)))
	u.shown = slices.Insert(u.shown[:left], at, added[:min(len(added), room)]...)
}

// followUpWindow is how long after being shown, in ms, an interaction counts as its follow-up.
const followUpWindow = 24 * 60 * 60 * 1000

// isFollowUp reports whether an interaction at t may follow being shown at the time shown.
func isFollowUp(shown, t int64) bool { return t >= shown && t-shown <= followUpWindow }

// sharedID returns the id string of the item. Histories hold many ids; so they share one string for
// each item. id is the item's id in the event.
func (it *ItemState) sharedID(id string) string {
	if it.id != "" { // else it is a copy that is thrown away
		return it.id
	}
	return id
}

// newestFirst returns where an element of the time t belongs in a list that is sorted by time,
// newest first. Among equal times the later arrival comes first.
func newestFirst[T any](list []T, t int64, timeOf func(T) int64) int {
	at, _ := slices.BinarySearchFunc(list, t, func(a T, t int64) int {
		if timeOf(a) > t {
			return -1
		}
		return 1
	})
	return at
}

// insertNewestFirst inserts x into a list that is sorted by time, newest first, and cuts the list
// to the bound.
func insertNewestFirst[T any](list []T, x T, bound int, timeOf func(T) int64) []T {
	at := newestFirst(list, timeOf(x), timeOf)
	if at >= bound {
		return list
	}
	if len(list) >= bound {
		list = list[:bound-1]
	}
	return slices.Insert(list, at, x)
}
