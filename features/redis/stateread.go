package redis

import (
	"slices"
	"sync"

	"relish/features"
	"relish/internal/redisconn"
	"relish/ranker"
)

// stateRead is one call of Read.
type stateRead struct {
	store         *Store
	query         *ranker.FeatureQuery
	entries       []*cacheEntry          // aligned with values; nil: not in the local cache
	values        []valueRead            // the user, and then the candidates
	tracked       bool                   // read over the connection that announces changes
	historyItems  map[string]*entityCopy // items of the history without a fresh copy, as read
	state         features.QueryState
	stale         bool
	fairTimeout   bool   // Redis gets at least half of the time that it may take
	invalidations uint64 // of the local cache, at the start
}

// valueRead is the state of one user or item in a stateRead.
type valueRead struct {
	slot     uint32          // of the key, see redisconn.TrackingSlot
	answered bool            // Redis has answered, or the copy is as new as an answer
	copy     *entityCopy     // the local copy, replaced by what Redis answers
	stamp    redisconn.Stamp // taken before Redis was asked
}

// allCurrent reports whether no change of any copy's value has been announced.
func (r *stateRead) allCurrent() bool {
	for i := range r.values {
		if !r.isCurrent(&r.values[i]) {
			return false
		}
	}
	return true
}

func (r *stateRead) setAnswered(answered bool) {
	for i := range r.values {
		r.values[i].answered = answered
	}
}

// stateReads keeps the memory of finished reads.
var stateReads = sync.Pool{New: func() any { return new(stateRead) }}

func (s *Store) newStateRead(q *ranker.FeatureQuery) *stateRead {
	r := stateReads.Get().(*stateRead)
	n := 1 + len(q.Candidates)
	r.store, r.query, r.invalidations = s, q, s.cache.invalidations.Load()
	r.entries = slices.Grow(r.entries, n)[:n]
	r.values = slices.Grow(r.values, n)[:n]
	user := userKey(q.User).cacheKey()
	s.cache.entries.getAll(r.entries, func(i int) string {
		if i == 0 {
			return user
		}
		return q.Candidates[i-1].ID
	})
	for i, e := range r.entries {
		if e != nil {
			r.values[i].slot, r.values[i].copy = e.slot, e.latestCopy()
		} else {
			r.values[i].slot = redisconn.TrackingSlot(r.key(i))
		}
	}
	return r
}

// release keeps the memory for the next read, without what it refers to.
func (r *stateRead) release() {
	clear(r.entries)
	clear(r.values)
	clear(r.state.Candidates)
	*r = stateRead{
		entries: r.entries[:0], values: r.values[:0],
		state: features.QueryState{Candidates: r.state.Candidates[:0]},
	}
	stateReads.Put(r)
}

// entity returns the user or item of a value.
func (r *stateRead) entity(i int) entityKey {
	if i == 0 {
		return userKey(r.query.User)
	}
	return itemKey(r.query.Candidates[i-1].ID)
}

// key returns the key of a value in Redis.
func (r *stateRead) key(i int) string {
	if e := r.entries[i]; e != nil {
		return e.key
	}
	return r.store.keys.state(r.entity(i))
}

// isCurrent reports whether no change of the copy's value has been announced since it was read.
func (r *stateRead) isCurrent(v *valueRead) bool {
	return v.copy != nil && r.store.tracking.Current(v.slot, v.copy.stamp)
}

// assemble fills in r.state. It returns the number of candidates whose state is known: from
// Redis, or from a local copy.
func (r *stateRead) assemble() (known int) {
	if c := r.values[0].copy; c != nil {
		r.state.User = c.user
	}
	for _, v := range r.values[1:] {
		var item *features.ItemState
		if v.copy != nil {
			item = v.copy.item
		}
		if v.copy != nil || v.answered {
			known++
		}
		r.stale = r.stale || !v.answered
		r.state.Candidates = append(r.state.Candidates, item)
	}
	r.state.History = r.historyContents()
	return known
}
