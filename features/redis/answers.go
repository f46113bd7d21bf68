package redis

import (
	"context"
	"strings"

	"relish/features"
	"relish/internal/redisconn"
)

// What a ranking makes of Redis' answers, and the contents of the user's history.

// takeUser takes Redis' answer about the user.
func (r *stateRead) takeUser(val redisconn.Value) {
	v := &r.values[0]
	raw, exists := val.Data, val.Data != ""
	if val.Unread {
		return
	}
	v.answered = true
	if exists && v.copy != nil && v.copy.rev == revisionOf(raw) {
		r.keep(0)
		return
	}
	c := &entityCopy{stamp: v.stamp}
	if exists {
		stored := r.store.decodeStored(userValue, raw)
		c.rev = strings.Clone(stored.rev) // it is a part of the value, which is long
		if stored.packed != "" {
			var err error
			_, c.user, err = r.store.counters.DecodeUser([]byte(stored.packed))
			if err != nil {
				r.store.countDamaged(err)
				c.user = nil
			}
		}
	}
	v.copy = c
	r.store.cacheCopy(r.entity(0), c, r.invalidations)
}

// keep keeps the copy of value i, which has the revision that Redis answered.
func (r *stateRead) keep(i int) {
	v := &r.values[i]
	if v.stamp != (redisconn.Stamp{}) {
		v.copy = v.copy.readAgain(v.stamp)
		r.store.cacheCopy(r.entity(i), v.copy, r.invalidations)
	}
}

// takeItem takes Redis' answer about candidate i. It returns false if the item's content must
// still be read.
func (r *stateRead) takeItem(i int, val redisconn.Value, content string) bool {
	v := &r.values[i+1]
	raw, exists := val.Data, val.Data != ""
	if val.Unread {
		return true
	}
	v.answered = true
	old := v.copy
	sameRevision := exists && old != nil && old.rev == revisionOf(raw)
	if sameRevision && (old.item == nil || old.item.Complete()) {
		r.keep(i + 1)
		return true
	}
	c := r.store.decodeItem(raw)
	c.stamp, v.copy = v.stamp, c
	if c.item != nil && !c.item.Complete() {
		switch read := r.store.decodeContent(content); {
		case read != nil && read.Hash == c.item.Hash:
			c.item.Content = *read
		case old != nil && old.item != nil && old.item.Hash == c.item.Hash:
			c.item.Content = old.item.Content
		default:
			return false
		}
	}
	r.store.cacheCopy(r.entity(i+1), c, r.invalidations)
	return true
}

// fetchMissing makes the second round trip, if one is needed: it reads the contents of the given
// candidates, and states and contents of the given items of the history.
func (r *stateRead) fetchMissing(ctx context.Context, candidates []int, history []string) {
	var keys []string
	for _, i := range candidates {
		keys = append(keys, r.store.keys.content(r.query.Candidates[i].ID))
	}
	for _, id := range history {
		keys = append(keys, r.store.keys.item(id), r.store.keys.content(id))
	}
	if len(keys) == 0 {
		return
	}
	vals := r.roundTrip(ctx, keys)
	for n, i := range candidates {
		c := r.values[i+1].copy
		if content := r.store.decodeContent(vals[n].Data); content != nil {
			c.item.Content = *content // it may be even newer than the state
			r.store.cacheCopy(r.entity(i+1), c, r.invalidations)
		}
	}
	vals = vals[len(candidates):]
	for n, id := range history {
		if vals[2*n].Unread {
			continue
		}
		c := r.store.decodeItem(vals[2*n].Data)
		if content := r.store.decodeContent(vals[2*n+1].Data); content != nil && c.item != nil {
			c.item.Content = *content
		}
		r.historyItems[id] = c
		r.store.cache.put(itemKey(id), r.store.keys.item(id), c, r.invalidations)
	}
}

// missingHistory returns the items of the user's history that have no fresh local copy, each once.
func (r *stateRead) missingHistory() (ids []string) {
	u := r.values[0].copy
	if u == nil || r.store.cache.historyValid(u.history.Load()) {
		return nil
	}
	r.historyItems = map[string]*entityCopy{}
	for _, id := range u.user.History() {
		_, seen := r.historyItems[id]
		if !seen && !r.store.cache.isFresh(r.store.cache.get(itemKey(id)).latestCopy()) {
			r.historyItems[id] = nil
			ids = append(ids, id)
		}
	}
	return ids
}

// historyContents returns the contents of the items in the user's history, empty ones for items
// that are not known.
func (r *stateRead) historyContents() []*features.Content {
	u := r.values[0].copy
	if u == nil {
		return nil
	}
	if h := u.history.Load(); r.store.cache.historyValid(h) {
		return h.contents
	}
	h := &userHistory{invalidations: r.invalidations}
	allFresh := true
	for _, id := range u.user.History() {
		content, c := &features.Content{}, r.historyItems[id]
		if c == nil {
			c = r.store.cache.get(itemKey(id)).latestCopy()
		}
		if c != nil && c.item != nil {
			content = &c.item.Content
		}
		allFresh = allFresh && r.store.cache.isFresh(c)
		h.contents = append(h.contents, content)
	}
	if allFresh {
		u.history.Store(h)
	}
	return h.contents
}
