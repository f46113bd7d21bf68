package replay

import "relish/features"

// newcomerBound decides which actions of newcomers are labels, by the rule of the counters
// (features.Config.NewcomerExcess). A click farm then teaches a model as little as it changes the
// counters. It looks at earlier actions alone: nothing that happens later changes a label.
type newcomerBound struct {
	cfg     features.Config
	actedOn []int32                  // by user: the only item, noItem, or severalItems
	items   []features.NewcomerShare // by item
	overall features.NewcomerShare
}

const (
	noItem       = int32(-1)
	severalItems = int32(-2)
)

// admit notes a user's action on an item, and reports whether it counts for the item. Users and
// items are numbers of a Log.
func (b *newcomerBound) admit(user, item int32) bool {
	for int(user) >= len(b.actedOn) {
		b.actedOn = append(b.actedOn, noItem)
	}
	for int(item) >= len(b.items) {
		b.items = append(b.items, features.NewcomerShare{})
	}
	switch b.actedOn[user] {
	case noItem:
		b.actedOn[user] = item
	case item:
	default:
		b.actedOn[user] = severalItems
	}
	if b.actedOn[user] == item {
		if !b.cfg.AdmitsNewcomer(b.items[item], b.overall) {
			return false
		}
		b.items[item].Newcomers++
		b.overall.Newcomers++
	}
	b.items[item].All++
	b.overall.All++
	return true
}
