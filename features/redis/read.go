package redis

import (
	"context"
	"errors"
	"time"

	"relish/features"
	"relish/internal/redisconn"
	"relish/ranker"
)

// errAway is a read that found neither Redis nor a local copy.
var errAway = errors.New("redis: no answer, and nothing held locally")

// itemTimeout bounds the read of a single item, off the ranking path.
const itemTimeout = 500 * time.Millisecond

// reading is one Read at work.
type reading struct {
	s     *Store
	q     *ranker.Query
	keys  []string         // of the user and the candidates
	held  []*seen          // aligned with keys: local copies, replaced by what Redis says
	read  []bool           // aligned with keys: Redis has said it
	past  map[string]*seen // what the user's history lacked, as it was read
	e     features.Entities
	stale bool
	fair  bool   // Redis is given the time that it may take
	drops uint64 // of local copies, at the start
}

// Read implements ranker.Features: see the package's comment. What Redis does not answer in time comes from
// local copies, and the state says Stale.
func (s *Store) Read(ctx context.Context, q *ranker.Query) (*ranker.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := s.reading(q)
	slice := s.opt.ReadTimeout + s.opt.ReadTimeout*time.Duration(len(r.keys))/1000
	end, bounded := ctx.Deadline()
	r.fair = !bounded || time.Until(end) >= slice/2
	ctx, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	if s.conn.Up() {
		r.fetch(ctx)
	}
	seq := s.applied.value()
	known := r.entities()
	s.mu.RLock()
	out, err := s.tables.Read(q, &r.e)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if known == 0 && len(q.Candidates) > 0 {
		return nil, errAway
	}
	out.Seq, out.Read, out.Stale = seq, known, r.stale || s.isBehind()
	if out.Stale {
		s.stats.stale.Add(1)
	}
	return out, nil
}

func (s *Store) reading(q *ranker.Query) *reading {
	n := 1 + len(q.Candidates)
	r := &reading{s: s, q: q, keys: make([]string, n), held: make([]*seen, n), read: make([]bool, n), drops: s.local.drops.Load()}
	for i := range r.keys {
		e := r.entity(i)
		if h := s.local.get(e); h != nil {
			r.keys[i], r.held[i] = h.key, h.copy()
		} else {
			r.keys[i] = s.keys.of(e)
		}
	}
	return r
}

// entity returns whose state keys[i] holds.
func (r *reading) entity(i int) entityKey {
	if i == 0 {
		return userKey(r.q.User)
	}
	return itemKey(r.q.Candidates[i-1].ID)
}

// fetch asks Redis: once for all states and the contents that no local copy has; and once more for contents
// that turned out to be newer than the copy, and for the user's history.
func (r *reading) fetch(ctx context.Context) {
	keys := r.keys
	var contents []int // candidates whose content is asked for
	for i := range r.q.Candidates {
		if h := r.held[i+1]; h == nil || h.item == nil {
			contents = append(contents, i)
		}
	}
	if len(contents) > 0 {
		keys = append(make([]string, 0, len(keys)+len(contents)), keys...)
		for _, i := range contents {
			keys = append(keys, r.s.keys.content(r.q.Candidates[i].ID))
		}
	}
	vals := r.ask(ctx, keys)
	beside := make(map[int]any, len(contents))
	for n, i := range contents {
		beside[i] = vals[len(r.keys)+n]
	}
	r.takeUser(vals[0])
	var newer []int
	for i := range r.q.Candidates {
		if !r.takeItem(i, vals[i+1], beside[i]) {
			newer = append(newer, i)
		}
	}
	r.second(ctx, newer, r.missingHistory())
}

// ask is one round trip, reported to the breaker. Who does not get his turn in time, or had hardly any time, or went
// away, has learned nothing about Redis.
func (r *reading) ask(ctx context.Context, keys []string) []any {
	select {
	case r.s.turns <- struct{}{}:
		defer func() { <-r.s.turns }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		r.stale = true
		return redisconn.AllUnread(len(keys))
	}
	r.s.stats.trips.Add(1)
	vals, err := r.s.conn.Values(ctx, keys)
	if err == nil || r.fair && !errors.Is(ctx.Err(), context.Canceled) {
		r.s.conn.Report(err)
	}
	if err != nil {
		r.stale = true
	}
	return vals
}

func (r *reading) takeUser(val any) {
	raw, ok := val.(string)
	if _, failed := val.(redisconn.Unread); failed || ok && r.held[0] != nil && r.held[0].rev == revision(raw) {
		return
	}
	now := &seen{}
	if ok {
		v := r.s.decode(raw)
		now.rev = v.rev
		if v.packed != "" {
			var err error
			if _, now.user, err = r.s.tables.DecodeUser([]byte(v.packed)); err != nil {
				r.s.damaged(err)
				now.user = nil
			}
		}
	}
	r.held[0] = now
	r.s.keep(r.entity(0), now, r.drops)
}

// takeItem takes what Redis said of candidate i; false if its content is still needed.
func (r *reading) takeItem(i int, val, content any) bool {
	raw, ok := val.(string)
	if _, failed := val.(redisconn.Unread); failed {
		return true
	}
	r.read[i+1] = true
	old := r.held[i+1]
	if ok && old != nil && old.rev == revision(raw) && (old.item == nil || old.item.Complete()) {
		return true
	}
	now := r.s.decodeItem(raw)
	r.held[i+1] = now
	if now.item != nil && !now.item.Complete() {
		switch c := r.s.decodeContent(content); {
		case c != nil && c.Hash == now.item.Hash:
			now.item.Content = *c
		case old != nil && old.item != nil && old.item.Hash == now.item.Hash:
			now.item.Content = old.item.Content
		default:
			return false
		}
	}
	r.s.keep(r.entity(i+1), now, r.drops)
	return true
}

// second is the second round trip, if one is needed.
func (r *reading) second(ctx context.Context, newer []int, history []string) {
	var keys []string
	for _, i := range newer {
		keys = append(keys, r.s.keys.content(r.q.Candidates[i].ID))
	}
	for _, id := range history {
		keys = append(keys, r.s.keys.item(id), r.s.keys.content(id))
	}
	if len(keys) == 0 {
		return
	}
	vals := r.ask(ctx, keys)
	for n, i := range newer {
		now := r.held[i+1]
		if c := r.s.decodeContent(vals[n]); c != nil {
			now.item.Content = *c // it may be newer still than the state
			r.s.keep(r.entity(i+1), now, r.drops)
		}
	}
	vals = vals[len(newer):]
	for n, id := range history {
		raw, _ := vals[2*n].(string)
		if _, failed := vals[2*n].(redisconn.Unread); failed {
			continue
		}
		now := r.s.decodeItem(raw)
		if c := r.s.decodeContent(vals[2*n+1]); c != nil && now.item != nil {
			now.item.Content = *c
		}
		r.past[id] = now
		r.s.local.put(itemKey(id), r.s.keys.item(id), now, r.drops)
	}
}

// missingHistory returns the items of the user's history that no fresh local copy has.
func (r *reading) missingHistory() (ids []string) {
	u := r.held[0]
	if u == nil || r.s.local.holds(u.past.Load()) {
		return nil
	}
	r.past = map[string]*seen{}
	for _, id := range u.user.History() {
		if _, asked := r.past[id]; !asked && !r.s.local.fresh(r.s.local.get(itemKey(id)).copy()) {
			r.past[id] = nil
			ids = append(ids, id)
		}
	}
	return ids
}

// history returns the contents of the user's history, as far as they are known.
func (r *reading) history() []*features.Content {
	u := r.held[0]
	if u == nil {
		return nil
	}
	if p := u.past.Load(); r.s.local.holds(p) {
		return p.contents
	}
	now := &past{drops: r.drops}
	complete := true
	for _, id := range u.user.History() {
		c, h := &features.Content{}, r.past[id]
		if h == nil {
			h = r.s.local.get(itemKey(id)).copy()
		}
		if h != nil && h.item != nil {
			c = &h.item.Content
		}
		complete = complete && r.s.local.fresh(h)
		now.contents = append(now.contents, c)
	}
	if complete {
		u.past.Store(now)
	}
	return now.contents
}

// entities puts together what is known, and returns of how many candidates it is.
func (r *reading) entities() (known int) {
	if r.held[0] != nil {
		r.e.User = r.held[0].user
	}
	r.e.Candidates = make([]*features.ItemState, len(r.q.Candidates))
	for i := range r.q.Candidates {
		if h := r.held[i+1]; h != nil {
			r.e.Candidates[i] = h.item
			known++
		} else if r.read[i+1] {
			known++
		}
		r.stale = r.stale || !r.read[i+1]
	}
	r.e.History = r.history()
	return known
}

// keep holds a copy of something that is there, and of nothing else: names that callers make up must not
// push out what is known.
func (s *Store) keep(e entityKey, now *seen, since uint64) {
	if now.item != nil || now.user != nil {
		s.local.put(e, s.keys.of(e), now, since)
	} else if s.local.get(e) != nil {
		s.local.drop(e)
	}
}

// decode reads a value; a damaged one is as good as none, and counted.
func (s *Store) decode(raw string) value {
	if raw == "" {
		return value{}
	}
	v, err := decodeValue(raw)
	if err != nil {
		s.damaged(err)
		return value{rev: v.rev}
	}
	return v
}

func (s *Store) damaged(err error) {
	if s.stats.invalid.Add(1) == 1 {
		s.log.Error("Redis holds a value that this server cannot read; it counts as missing (relish rebuild --redis restores it)", "reason", err)
	}
}

func (s *Store) decodeItem(raw string) *seen {
	if raw == "" {
		return &seen{}
	}
	v := s.decode(raw)
	now := &seen{rev: v.rev}
	if v.packed == "" {
		return now
	}
	_, it, err := s.tables.DecodeItem([]byte(v.packed))
	if err != nil {
		s.damaged(err)
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
	c, err := s.tables.DecodeContent([]byte(raw))
	if err != nil {
		s.damaged(err)
		return nil
	}
	return c
}

// Item returns what is known of an item.
func (s *Store) Item(id string) (*ranker.Item, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), itemTimeout)
	defer cancel()
	key := s.keys.item(id)
	now, drops := s.local.get(itemKey(id)).copy(), s.local.drops.Load()
	if s.conn.Up() {
		vals, err := s.conn.Values(ctx, []string{key, s.keys.content(id)})
		s.conn.Report(err)
		if err == nil {
			raw, _ := vals[0].(string)
			now = s.decodeItem(raw)
			if c := s.decodeContent(vals[1]); c != nil && now.item != nil && c.Hash == now.item.Hash {
				now.item.Content = *c
			}
			s.keep(itemKey(id), now, drops)
		}
	}
	if now == nil || now.item == nil || now.item.Info == nil {
		return nil, false
	}
	return &now.item.Info.Item, true
}
