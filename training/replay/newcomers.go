package replay

import "relish/features"

// newcomerBound leaves out what the state leaves out of its counters: what newcomers cause beyond
// features.Config.NewcomerExcess. A click farm then teaches no more than the state counts.
type newcomerBound struct {
	cfg     features.Config
	users   []userItems // by user
	items   []newcomerShares
	overall newcomerShares
}

// userItems says whether a user acted on one item at most.
type userItems struct {
	first   int32 // the item that the user acted on first
	acted   bool
	another bool // the user acted on another item too
}

// newcomerShares are those of impressions and actions.
type newcomerShares struct{ impressions, actions features.NewcomerShare }

// actionCounts notes a user's action on an item, and reports whether it counts for the item.
func (b *newcomerBound) actionCounts(user, item int32) bool {
	u := at(&b.users, user)
	if !u.acted {
		u.first, u.acted = item, true
	}
	u.another = u.another || item != u.first
	return b.counts(&at(&b.items, item).actions, &b.overall.actions, !u.another)
}

// impressionsCount notes that a user was shown items, and reports whether that counts for at least
// half of them.
func (b *newcomerBound) impressionsCount(user int32, items []int32) bool {
	newcomer, counted := b.isNewcomer(user), 0
	for _, item := range items {
		if b.counts(&at(&b.items, item).impressions, &b.overall.impressions, newcomer) {
			counted++
		}
	}
	return 2*counted >= len(items)
}

// isNewcomer reports whether the user has acted on one item at most.
func (b *newcomerBound) isNewcomer(user int32) bool { return !at(&b.users, user).another }

func (b *newcomerBound) counts(item, overall *features.NewcomerShare, newcomer bool) bool {
	if newcomer {
		if !b.cfg.AdmitsNewcomer(*item, *overall) {
			return false
		}
		item.Newcomers++
		overall.Newcomers++
	}
	item.All++
	overall.All++
	return true
}

// at returns the element with the index, and lengthens the list if needed.
func at[T any](list *[]T, index int32) *T {
	for int(index) >= len(*list) {
		*list = append(*list, *new(T))
	}
	return &(*list)[index]
}
