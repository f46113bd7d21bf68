package features

import (
	"slices"

	"relish/ranker"
)

const day = 24 * 60 * 60 * 1000 // ms

func sameDay(a, b int64) bool { return a/day == b/day }

// repeats returns how often the user has done this with the item on the day of the event, as far as
// the history tells. A user with more interactions on that day than the history keeps may have
// pushed earlier ones out of it. An item that is not in such a history counts as repeated up to its
// bound, unless it was shown and no interaction followed.
func (s *State) repeats(u *UserState, e *ranker.Event) int {
	same, ofItem := 0, 0
	for i := range u.recent {
		in := &u.recent[i]
		if in.Item == e.ItemID && sameDay(in.Time, e.Time) {
			ofItem++
			if in.Action == e.Action {
				same++
			}
		}
	}
	if s.applied.User { // the history includes this event already
		return max(0, same-1)
	}
	if ofItem > 0 || len(u.recent) < s.cfg.Recent ||
		!sameDay(u.recent[len(u.recent)-1].Time, e.Time) {
		return same
	}
	repeats := min(s.cfg.DailyUnlisted, s.cfg.DailyListed-1)
	for i := range u.shown {
		sh := &u.shown[i]
		if sh.Item != e.ItemID || !isFollowUp(sh.Time, e.Time) {
			continue
		}
		if sh.Clicked {
			return s.cfg.DailyListed
		}
		repeats = 0
	}
	return repeats
}

// wasShown reports whether an interaction with the item at t may follow a list with it.
func (u *UserState) wasShown(id string, t int64) bool {
	return slices.ContainsFunc(u.shown, func(sh ranker.Shown) bool {
		return sh.Item == id && isFollowUp(sh.Time, t)
	})
}
