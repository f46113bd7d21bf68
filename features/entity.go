package features

import (
	"iter"
	"maps"
	"slices"

	"relish/features/event"
)

// item finds the item that rec names, made if need be; a copy that is thrown away if rec is to skip it.
func (s *State) item(id string, rec *event.Record) *ItemState {
	it := s.items[id]
	if s.applied.Items[id] {
		return it.scratch()
	}
	if it == nil {
		it = &ItemState{first: rec.Event.Time}
		s.items[id] = it
		s.evictItems()
	}
	it.seen = rec.Arrival
	it.first = min(it.first, rec.Event.Time)
	return it
}

// user does the same for a user.
func (s *State) user(id string, rec *event.Record) *UserState {
	u := s.users[id]
	if s.applied.User {
		return u.scratch(len(s.cfg.Fields))
	}
	if u == nil {
		u = &UserState{values: make([][]userFieldCounts, len(s.cfg.Fields))}
		s.users[id] = u
		s.evictUsers()
	}
	u.seen = rec.Arrival
	return u
}

// scratch returns a copy to write to; of nil, an empty one.
func (it *ItemState) scratch() *ItemState {
	if it == nil {
		return &ItemState{}
	}
	c := *it
	c.times, c.counts = maps.Clone(it.times), it.counts.clone()
	return &c
}

func (u *UserState) scratch(fields int) *UserState {
	if u == nil {
		return &UserState{values: make([][]userFieldCounts, fields)}
	}
	c := *u
	c.times, c.recent, c.shown, c.counts = maps.Clone(u.times), slices.Clone(u.recent), slices.Clone(u.shown), u.counts.clone()
	c.values = make([][]userFieldCounts, len(u.values))
	for f, list := range u.values {
		c.values[f] = slices.Clone(list)
		for i := range list {
			c.values[f][i].decayedCounts = list[i].clone()
		}
	}
	return &c
}

// PutItem and PutUser put an entity into the state, which owns it from then on; nil removes it.
func (s *State) PutItem(id string, it *ItemState) { put(s.items, id, it) }

// PutUser see PutItem.
func (s *State) PutUser(id string, u *UserState) { put(s.users, id, u) }

func put[T any](m map[string]*T, id string, v *T) {
	if v == nil {
		delete(m, id)
		return
	}
	m[id] = v
}

// ItemState returns an item's state, nil for an unknown one. It is the state's own.
func (s *State) ItemState(id string) *ItemState { return s.items[id] }

// Users returns the ids of all users, in no order.
func (s *State) Users() iter.Seq[string] { return maps.Keys(s.users) }

// UserState does the same for a user.
func (s *State) UserState(id string) *UserState { return s.users[id] }

// Complete reports whether the content is here, if the item has one.
func (it *ItemState) Complete() bool { return it.Hash == 0 || it.Info != nil }
