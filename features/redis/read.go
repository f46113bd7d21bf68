package redis

import (
	"context"
	"errors"
	"time"

	"relish/features"
	"relish/internal/redisconn"
	"relish/ranker"
)

// errNoState is a read that found neither Redis nor a local copy.
var errNoState = errors.New("redis: no answer, and nothing held locally")

// itemTimeout bounds the read of a single item, off the ranking path.
const itemTimeout = 500 * time.Millisecond

// stateRead is one Read at work.
type stateRead struct {
	store         *Store
	query         *ranker.FeatureQuery
	keys          []string               // of the user and the candidates
	copies        []*entityCopy          // aligned with keys: local copies, replaced by what Redis says
	answered      []bool                 // aligned with keys: Redis has said it
	historyItems  map[string]*entityCopy // what the user's history lacked, as it was read
	entities      features.Entities
	stale         bool
	fairTimeout   bool   // Redis is given the time that it may take
	invalidations uint64 // of local copies, at the start
}

// Read implements ranker.Features: see the package's comment. What Redis does not answer in time comes from
// local copies, and the state says Stale.
func (s *Store) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := s.newStateRead(q)
	slice := s.opt.ReadTimeout + s.opt.ReadTimeout*time.Duration(len(r.keys))/1000
	end, bounded := ctx.Deadline()
	r.fairTimeout = !bounded || time.Until(end) >= slice/2
	ctx, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	if s.conn.Up() {
		r.fetch(ctx)
	}
	seq := s.applied.value()
	known := r.assemble()
	s.mu.RLock()
	out, err := s.counters.Read(q, &r.entities)
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
	r := &stateRead{store: s, query: q, keys: make([]string, n), copies: make([]*entityCopy, n), answered: make([]bool, n), invalidations: s.cache.invalidations.Load()}
	for i := range r.keys {
		e := r.entity(i)
		if h := s.cache.get(e); h != nil {
			r.keys[i], r.copies[i] = h.key, h.latestCopy()
		} else {
			r.keys[i] = s.keys.state(e)
		}
	}
	return r
}

// entity returns whose state keys[i] holds.
func (r *stateRead) entity(i int) entityKey {
	if i == 0 {
		return userKey(r.query.User)
	}
	return itemKey(r.query.Candidates[i-1].ID)
}

// fetch asks Redis: once for all states and the contents that no local copy has; and once more for contents
// that turned out to be newer than the copy, and for the user's history.
func (r *stateRead) fetch(ctx context.Context) {
	keys := r.keys
	var contents []int // candidates whose content is asked for
	for i := range r.query.Candidates {
		if h := r.copies[i+1]; h == nil || h.item == nil {
			contents = append(contents, i)
		}
	}
	if len(contents) > 0 {
		keys = append(make([]string, 0, len(keys)+len(contents)), keys...)
		for _, i := range contents {
			keys = append(keys, r.store.keys.content(r.query.Candidates[i].ID))
		}
	}
	vals := r.roundTrip(ctx, keys)
	beside := make(map[int]any, len(contents))
	for n, i := range contents {
		beside[i] = vals[len(r.keys)+n]
	}
	r.takeUser(vals[0])
	var newer []int
	for i := range r.query.Candidates {
		if !r.takeItem(i, vals[i+1], beside[i]) {
			newer = append(newer, i)
		}
	}
	r.fetchMissing(ctx, newer, r.missingHistory())
}

// roundTrip is one round trip, reported to the breaker. Who does not get his turn in time, or had hardly any time, or went
// away, has learned nothing about Redis.
func (r *stateRead) roundTrip(ctx context.Context, keys []string) []any {
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

func (r *stateRead) takeUser(val any) {
	raw, ok := val.(string)
	if _, failed := val.(redisconn.Unread); failed || ok && r.copies[0] != nil && r.copies[0].rev == revisionOf(raw) {
		return
	}
	now := &entityCopy{}
	if ok {
		v := r.store.decodeStored(raw)
		now.rev = v.rev
		if v.packed != "" {
			var err error
			if _, now.user, err = r.store.counters.DecodeUser([]byte(v.packed)); err != nil {
				r.store.countDamaged(err)
				now.user = nil
			}
		}
	}
	r.copies[0] = now
	r.store.cacheCopy(r.entity(0), now, r.invalidations)
}

// takeItem takes what Redis said of candidate i; false if its content is still needed.
func (r *stateRead) takeItem(i int, val, content any) bool {
	raw, ok := val.(string)
	if _, failed := val.(redisconn.Unread); failed {
		return true
	}
	r.answered[i+1] = true
	old := r.copies[i+1]
	if ok && old != nil && old.rev == revisionOf(raw) && (old.item == nil || old.item.Complete()) {
		return true
	}
	now := r.store.decodeItem(raw)
	r.copies[i+1] = now
	if now.item != nil && !now.item.Complete() {
		switch c := r.store.decodeContent(content); {
		case c != nil && c.Hash == now.item.Hash:
			now.item.Content = *c
		case old != nil && old.item != nil && old.item.Hash == now.item.Hash:
			now.item.Content = old.item.Content
		default:
			return false
		}
	}
	r.store.cacheCopy(r.entity(i+1), now, r.invalidations)
	return true
}

// fetchMissing is the second round trip, if one is needed.
func (r *stateRead) fetchMissing(ctx context.Context, newer []int, history []string) {
	var keys []string
	for _, i := range newer {
		keys = append(keys, r.store.keys.content(r.query.Candidates[i].ID))
	}
	for _, id := range history {
		keys = append(keys, r.store.keys.item(id), r.store.keys.content(id))
	}
	if len(keys) == 0 {
		return
	}
	vals := r.roundTrip(ctx, keys)
	for n, i := range newer {
		now := r.copies[i+1]
		if c := r.store.decodeContent(vals[n]); c != nil {
			now.item.Content = *c // it may be newer still than the state
			r.store.cacheCopy(r.entity(i+1), now, r.invalidations)
		}
	}
	vals = vals[len(newer):]
	for n, id := range history {
		raw, _ := vals[2*n].(string)
		if _, failed := vals[2*n].(redisconn.Unread); failed {
			continue
		}
		now := r.store.decodeItem(raw)
		if c := r.store.decodeContent(vals[2*n+1]); c != nil && now.item != nil {
			now.item.Content = *c
		}
		r.historyItems[id] = now
		r.store.cache.put(itemKey(id), r.store.keys.item(id), now, r.invalidations)
	}
}

// missingHistory returns the items of the user's history that no fresh local copy has.
func (r *stateRead) missingHistory() (ids []string) {
	u := r.copies[0]
	if u == nil || r.store.cache.historyValid(u.history.Load()) {
		return nil
	}
	r.historyItems = map[string]*entityCopy{}
	for _, id := range u.user.History() {
		if _, asked := r.historyItems[id]; !asked && !r.store.cache.isFresh(r.store.cache.get(itemKey(id)).latestCopy()) {
			r.historyItems[id] = nil
			ids = append(ids, id)
		}
	}
	return ids
}

// historyContents returns the contents of the user's history, as far as they are known.
func (r *stateRead) historyContents() []*features.Content {
	u := r.copies[0]
	if u == nil {
		return nil
	}
	if p := u.history.Load(); r.store.cache.historyValid(p) {
		return p.contents
	}
	now := &userHistory{invalidations: r.invalidations}
	complete := true
	for _, id := range u.user.History() {
		c, h := &features.Content{}, r.historyItems[id]
		if h == nil {
			h = r.store.cache.get(itemKey(id)).latestCopy()
		}
		if h != nil && h.item != nil {
			c = &h.item.Content
		}
		complete = complete && r.store.cache.isFresh(h)
		now.contents = append(now.contents, c)
	}
	if complete {
		u.history.Store(now)
	}
	return now.contents
}

// assemble puts together what is known, and returns of how many candidates it is.
func (r *stateRead) assemble() (known int) {
	if r.copies[0] != nil {
		r.entities.User = r.copies[0].user
	}
	r.entities.Candidates = make([]*features.ItemState, len(r.query.Candidates))
	for i := range r.query.Candidates {
		if h := r.copies[i+1]; h != nil {
			r.entities.Candidates[i] = h.item
			known++
		} else if r.answered[i+1] {
			known++
		}
		r.stale = r.stale || !r.answered[i+1]
	}
	r.entities.History = r.historyContents()
	return known
}

// cacheCopy holds a copy of something that is there, and of nothing else: names that callers make up must not
// push out what is known.
func (s *Store) cacheCopy(e entityKey, now *entityCopy, since uint64) {
	if now.item != nil || now.user != nil {
		s.cache.put(e, s.keys.state(e), now, since)
	} else if s.cache.get(e) != nil {
		s.cache.remove(e)
	}
}

// decodeStored reads a value; a damaged one is as good as none, and counted.
func (s *Store) decodeStored(raw string) storedValue {
	if raw == "" {
		return storedValue{}
	}
	v, err := decodeValue(raw)
	if err != nil {
		s.countDamaged(err)
		return storedValue{rev: v.rev}
	}
	return v
}

func (s *Store) countDamaged(err error) {
	if s.stats.invalid.Add(1) == 1 {
		s.log.Error("Redis holds a value that this server cannot read; it counts as missing (relish rebuild --redis restores it)", "reason", err)
	}
}

func (s *Store) decodeItem(raw string) *entityCopy {
	if raw == "" {
		return &entityCopy{}
	}
	v := s.decodeStored(raw)
	now := &entityCopy{rev: v.rev}
	if v.packed == "" {
		return now
	}
	_, it, err := s.counters.DecodeItem([]byte(v.packed))
	if err != nil {
		s.countDamaged(err)
		return now
	}
	now.item = it
	return now
}

func (s *Store) decodeContent(val any) *features.Content {
	raw, ok := val.(string)
	if !ok {
		return nil
	}
	c, err := s.counters.DecodeContent([]byte(raw))
	if err != nil {
		s.countDamaged(err)
		return nil
	}
	return c
}

// Item returns what is known of an item.
func (s *Store) Item(id string) (*ranker.Item, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), itemTimeout)
	defer cancel()
	key := s.keys.item(id)
	now, drops := s.cache.get(itemKey(id)).latestCopy(), s.cache.invalidations.Load()
	if s.conn.Up() {
		vals, err := s.conn.GetMany(ctx, []string{key, s.keys.content(id)})
		s.conn.Report(err)
		if err == nil {
			raw, _ := vals[0].(string)
			now = s.decodeItem(raw)
			if c := s.decodeContent(vals[1]); c != nil && now.item != nil && c.Hash == now.item.Hash {
				now.item.Content = *c
			}
			s.cacheCopy(itemKey(id), now, drops)
		}
	}
	if now == nil || now.item == nil || now.item.Info == nil {
		return nil, false
	}
	return &now.item.Info.Item, true
}
