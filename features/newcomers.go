package features

import (
	"slices"

	"relish/ranker"
)

// A newcomer is a user who has acted on one item at most. Whoever raises an item by invented users
// sends newcomers. Every item of an honest site has some of them too. So newcomers may cause more
// of an item's events than is usual, but not much more: see Config.NewcomerExcess.

// newcomerAllowance is how many events of newcomers count for any item, whatever is usual.
const newcomerAllowance = 1

// NewcomerCounts are the counted impressions and actions of newcomers. The decayed counters include
// them.
type NewcomerCounts struct{ Impressions, Actions uint32 }

// of returns the count that an action belongs to, by its index in decayedCounts.
func (c *NewcomerCounts) of(action int) *uint32 {
	if action == 0 {
		return &c.Impressions
	}
	return &c.Actions
}

func (c *NewcomerCounts) add(other NewcomerCounts) {
	c.Impressions += other.Impressions
	c.Actions += other.Actions
}

// hasActedOnOther reports whether the user's history has another item than this one.
func (u *UserState) hasActedOnOther(item string) bool {
	return slices.ContainsFunc(u.recent, func(in ranker.Interaction) bool {
		return in.Item != item
	})
}

// isNewcomer reports whether the user has acted on one item at most.
func (u *UserState) isNewcomer() bool {
	return len(u.recent) == 0 || !u.hasActedOnOther(u.recent[0].Item)
}

// NewcomerShare says how many of some counted events newcomers caused.
type NewcomerShare struct{ Newcomers, All float64 }

// AdmitsNewcomer reports whether one more event of a newcomer counts for an item. overall is the
// share of newcomers in the events of all items. If newcomers cause half of all events or more, a
// NewcomerExcess of 2 admits everything: such a site has little other evidence.
func (c *Config) AdmitsNewcomer(item, overall NewcomerShare) bool {
	if c.NewcomerExcess == 0 || overall.All == 0 {
		return true
	}
	usual := overall.Newcomers / overall.All
	return item.Newcomers+1 <= newcomerAllowance+c.NewcomerExcess*usual*(item.All+1)
}

// admitsNewcomer is Config.AdmitsNewcomer for an action on an item, by the action's index. The
// bound is on all actions together.
func (s *State) admitsNewcomer(it *ItemState, action int) bool {
	if s.cfg.NewcomerExcess == 0 {
		return true
	}
	if action > 0 {
		action = anyAction
	}
	all := func(c *decayedCounts) float64 {
		if c.values == nil {
			return 0
		}
		return c.sum(action, s.layout.allTime, len(s.layout.rates))
	}
	return s.cfg.AdmitsNewcomer(
		NewcomerShare{float64(*it.newcomers.of(action)), all(&it.counts)},
		NewcomerShare{float64(*s.newcomers.of(action)), all(&s.global)},
	)
}
