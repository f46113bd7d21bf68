package redis

import (
	"context"
	"errors"
	"strings"
	"time"

	"relish/features"
	"relish/internal/redisconn"
	"relish/ranker"
)

// errNoState is returned if Redis gives no answer and no candidate has a local copy.
var errNoState = errors.New("redis does not answer, and no candidate has a local copy")

// stateRead is one call of Read. Index 0 of keys, copies and answered is the user, index i+1
// candidate i.
type stateRead struct {
	store         *Store
	query         *ranker.FeatureQuery
	keys          []string
	copies        []*entityCopy          // local copies, replaced by what Redis answers
	answered      []bool                 // Redis has answered
	historyItems  map[string]*entityCopy // items of the history without a fresh copy, as read
	state         features.QueryState
	stale         bool
	fairTimeout   bool   // Redis gets at least half of the time that it may take
	invalidations uint64 // of the local cache, at the start
}

// Read implements [ranker.StateReader]. It waits for Redis at most Options.ReadTimeout, which grows
// with the number of candidates. What Redis does not answer in time comes from local copies, and
// the state is marked as stale. Read fails only if no candidate's state is known at all.
func (s *Store) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := s.newStateRead(q)
	timeout := s.opt.ReadTimeout + s.opt.ReadTimeout*time.Duration(len(r.keys))/1000
	deadline, bounded := ctx.Deadline()
	r.fairTimeout = !bounded || time.Until(deadline) >= timeout/2
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.conn.Up() {
		r.fetch(ctx)
	}
	seq := s.applied.value()
	known := r.assemble()
	s.mu.RLock()
	out, err := s.counters.Read(q, &r.state)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if known == 0 && len(q.Candidates) > 0 {
		return nil, errNoState
	}
	out.Seq, out.ItemsRead, out.Stale = seq, known, r.stale || s.isBehind()
	if out.Stale {
		s.stats.stale.Add(1)
	}
	return out, nil
}

func (s *Store) newStateRead(q *ranker.FeatureQuery) *stateRead {
	n := 1 + len(q.Candidates)
	r := &stateRead{
		store: s, query: q, keys: make([]string, n), copies: make([]*entityCopy, n),
		answered: make([]bool, n), invalidations: s.cache.invalidations.Load(),
	}
	for i := range r.keys {
		e := r.entity(i)
		if entry := s.cache.get(e); entry != nil {
			r.keys[i], r.copies[i] = entry.key, entry.latestCopy()
		} else {
			r.keys[i] = s.keys.state(e)
		}
	}
	return r
}

// entity returns the user or item whose state keys[i] holds.
func (r *stateRead) entity(i int) entityKey {
	if i == 0 {
		return userKey(r.query.User)
	}
	return itemKey(r.query.Candidates[i-1].ID)
}

// fetch asks Redis. The first round trip reads all states, and the contents that have no local
// copy. The second one reads contents that turned out to be newer than the copy, and the user's
// history.
func (r *stateRead) fetch(ctx context.Context) {
	keys := r.keys
	var withoutCopy []int // candidates whose content is read with their state
	for i := range r.query.Candidates {
		if c := r.copies[i+1]; c == nil || c.item == nil {
			withoutCopy = append(withoutCopy, i)
		}
	}
	if len(withoutCopy) > 0 {
		keys = append(make([]string, 0, len(keys)+len(withoutCopy)), keys...)
		for _, i := range withoutCopy {
			keys = append(keys, r.store.keys.content(r.query.Candidates[i].ID))
		}
	}
	vals := r.roundTrip(ctx, keys)
	contents := make(map[int]string, len(withoutCopy)) // by candidate
	for n, i := range withoutCopy {
		contents[i] = vals[len(r.keys)+n].Data
	}
	r.takeUser(vals[0])
	var withoutContent []int
	for i := range r.query.Candidates {
		if !r.takeItem(i, vals[i+1], contents[i]) {
			withoutContent = append(withoutContent, i)
		}
	}
	r.fetchMissing(ctx, withoutContent, r.missingHistory())
}

// roundTrip reads the keys and reports the outcome to the breaker. It does not report a failure if
// the caller got no slot in time, had hardly any time, or was cancelled. Such a failure says
// nothing about Redis.
func (r *stateRead) roundTrip(ctx context.Context, keys []string) []redisconn.Value {
	select {
	case r.store.readSlots <- struct{}{}:
		defer func() { <-r.store.readSlots }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		r.stale = true
		return redisconn.AllUnread(len(keys))
	}
	r.store.stats.trips.Add(1)
	vals, err := r.store.conn.GetMany(ctx, keys)
	if err == nil || r.fairTimeout && !errors.Is(ctx.Err(), context.Canceled) {
		r.store.conn.Report(err)
	}
	if err != nil {
		r.stale = true
	}
	return vals
}

// takeUser takes Redis' answer about the user. A copy with the same revision stays.
func (r *stateRead) takeUser(val redisconn.Value) {
	raw, exists := val.Data, val.Data != ""
	if val.Unread {
		return
	}
	if exists && r.copies[0] != nil && r.copies[0].rev == revisionOf(raw) {
		return
	}
	c := &entityCopy{}
	if exists {
		v := r.store.decodeStored(userValue, raw)
		c.rev = strings.Clone(v.rev) // it is a part of the value, which is long
		if v.packed != "" {
			var err error
			if _, c.user, err = r.store.counters.DecodeUser([]byte(v.packed)); err != nil {
				r.store.countDamaged(err)
				c.user = nil
			}
		}
	}
	r.copies[0] = c
	r.store.cacheCopy(r.entity(0), c, r.invalidations)
}

// takeItem takes Redis' answer about candidate i. It returns false if the item's content must
// still be read.
func (r *stateRead) takeItem(i int, val redisconn.Value, content string) bool {
	raw, exists := val.Data, val.Data != ""
	if val.Unread {
		return true
	}
	r.answered[i+1] = true
	old := r.copies[i+1]
	sameRevision := exists && old != nil && old.rev == revisionOf(raw)
	if sameRevision && (old.item == nil || old.item.Complete()) {
		return true
	}
	c := r.store.decodeItem(raw)
	r.copies[i+1] = c
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
		c := r.copies[i+1]
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
	u := r.copies[0]
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
	u := r.copies[0]
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

// assemble fills in r.state. It returns the number of candidates whose state is known: from
// Redis, or from a local copy.
func (r *stateRead) assemble() (known int) {
	if r.copies[0] != nil {
		r.state.User = r.copies[0].user
	}
	r.state.Candidates = make([]*features.ItemState, len(r.query.Candidates))
	for i := range r.query.Candidates {
		if c := r.copies[i+1]; c != nil {
			r.state.Candidates[i] = c.item
			known++
		} else if r.answered[i+1] {
			known++
		}
		r.stale = r.stale || !r.answered[i+1]
	}
	r.state.History = r.historyContents()
	return known
}
