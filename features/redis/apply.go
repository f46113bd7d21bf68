package redis

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// batch is a run of one replica's records on its way into Redis, in four steps: claim the events,
// load the users and items that they change, apply the records, store the results. Results that
// another replica changed meanwhile are loaded and applied again.
type batch struct {
	s            *Store
	part         *counterPart
	records      []event.Record
	affected     [][]*entity     // aligned with records: whose state each record changes
	state        *features.State // the loaded entities; its counters are the replica's own part
	entities     map[entityKey]*entity
	changedItems map[string]*ranker.ItemInfo // items with new content, for Options.OnItem
	outdated     map[entityKey]bool          // what other replicas must read again; true: erased
}

// entity is a user or item of a batch.
type entity struct {
	key   entityKey
	id    string // the user's or item's id; "" while only a user's hash is known
	value storedValue
	dirty bool // value must be stored
}

// applyRecords writes the records to Redis and counts them in p. They must come from one replica
// and in order. Applying any of them again is harmless. On an error some records are applied;
// Redis and the counters stay consistent.
func (s *Store) applyRecords(ctx context.Context, p *counterPart, records []event.Record) error {
	b := &batch{
		s: s, part: p, records: records, state: p.counters.NewState(),
		entities:     map[entityKey]*entity{},
		changedItems: map[string]*ranker.ItemInfo{},
		outdated:     map[entityKey]bool{},
	}
	b.state.CountUncounted(s.uncounted)
	if err := s.erasures.noteErasures(records); err != nil {
		return fmt.Errorf("note the erasures in the data folder: %w", err)
	}
	if err := b.claim(ctx); err != nil {
		return err
	}
	for i := range b.records {
		b.affected = append(b.affected, b.affectedBy(&b.records[i].Event))
	}
	pending := slices.Collect(maps.Values(b.entities))
	for round := 0; len(pending) > 0 || round == 0; round++ {
		if err := backOff(ctx, round); err != nil {
			return err
		}
		if err := b.load(ctx, pending); err != nil {
			return err
		}
		b.applyAll()
		var err error
		if pending, err = b.storeChanged(ctx); err != nil {
			return err
		}
		s.stats.conflicts.Add(int64(len(pending)))
	}
	return b.announceChanges(ctx)
}

// backOff waits before another round: a random time that grows with the round, at most 20 ms. It
// does not wait before round 0.
func backOff(ctx context.Context, round int) error {
	if round == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(time.Duration(min(round, 20)) * time.Millisecond)):
		return nil
	}
}

// affectedBy returns the users and items whose state an event changes.
func (b *batch) affectedBy(e *ranker.Event) (out []*entity) {
	add := func(key entityKey, id string) {
		got := b.entities[key]
		if got == nil {
			got = &entity{key: key}
			b.entities[key] = got
		}
		if got.id == "" {
			got.id = id
		}
		if !slices.Contains(out, got) {
			out = append(out, got)
		}
	}
	switch e.Kind {
	case ranker.EventItem, ranker.EventDelete:
		add(itemKey(e.ItemID), e.ItemID)
	case ranker.EventUser:
		add(userKey(e.UserID), e.UserID)
	case ranker.EventInteraction:
		if slices.Contains(b.s.cfg.Actions, e.Action) {
			add(userKey(e.UserID), e.UserID)
			add(itemKey(e.ItemID), e.ItemID)
		}
	case ranker.EventImpression:
		add(userKey(e.UserID), e.UserID)
		for _, id := range e.Impression.Items {
			add(itemKey(id), id)
		}
	case ranker.EventErase:
		add(entityKey{true, e.UserHash}, "")
	}
	return out
}

// load reads the values and contents of the entities. A damaged value counts as missing.
func (b *batch) load(ctx context.Context, list []*entity) error {
	if len(list) == 0 {
		return nil
	}
	keys := make([]string, len(list))
	for i, e := range list {
		keys[i] = b.s.keys.state(e.key)
	}
	vals, err := b.s.conn.GetMany(ctx, keys)
	if err != nil {
		return err
	}
	var withoutContent []*entity
	for i, e := range list {
		kind := itemValue
		if e.key.user {
			kind = userValue
		}
		e.value, e.dirty = b.s.decodeStored(kind, vals[i].Data), false
		if e.key.user {
			b.putUser(e)
		} else if it := b.putItem(e); it != nil && !it.Complete() {
			withoutContent = append(withoutContent, e)
		}
	}
	if err := b.loadContents(ctx, withoutContent); err != nil {
		return err
	}
	return b.checkLoaded(ctx)
}

// checkLoaded returns errPartChanged if Redis lost writes of this replica before everything was
// loaded. An item may then lack its content, and its events must not be counted without it.
func (b *batch) checkLoaded(ctx context.Context) error {
	stored, err := b.s.storedPart(ctx, b.part.replica)
	if err == nil && stored != b.part.stored {
		err = errPartChanged
	}
	return err
}

func (b *batch) putUser(e *entity) {
	var u *features.UserState
	if e.value.packed != "" {
		id, got, err := b.state.DecodeUser([]byte(e.value.packed))
		if err != nil {
			b.s.countDamaged(err)
		} else {
			e.id, u = id, got
		}
	}
	b.state.PutUser(e.id, u)
}

func (b *batch) putItem(e *entity) *features.ItemState {
	var it *features.ItemState
	if e.value.packed != "" {
		_, got, err := b.state.DecodeItem([]byte(e.value.packed))
		if err != nil {
			b.s.countDamaged(err)
		} else if it = got; !it.Complete() {
			c := b.s.cache.get(e.key).latestCopy()
			if c != nil && c.item != nil && c.item.Hash == it.Hash {
				it.Content = c.item.Content
			}
		}
	}
	b.state.PutItem(e.id, it)
	return it
}

func (b *batch) loadContents(ctx context.Context, list []*entity) error {
	if len(list) == 0 {
		return nil
	}
	keys := make([]string, len(list))
	for i, e := range list {
		keys[i] = b.s.keys.content(e.id)
	}
	vals, err := b.s.conn.GetMany(ctx, keys)
	if err != nil {
		return err
	}
	for i, e := range list {
		it := b.state.ItemState(e.id)
		if c := b.s.decodeContent(vals[i].Data); c != nil {
			it.Content = *c
		} else {
			it.Content = features.Content{} // lost: the item counts as one that was never described
		}
	}
	return nil
}

// applyAll applies the records to everything that does not include them yet.
func (b *batch) applyAll() {
	replica := b.part.replica
	for i := range b.records {
		rec := &b.records[i]
		applied := features.AppliedParts{Counters: b.part.includes(rec.Seq)}
		var open []*entity // entities that lack the record
		for _, e := range b.affected[i] {
			switch {
			case !e.value.includes(replica, rec.Seq) && !erasedBefore(rec, e.value.erasedAt):
				open = append(open, e)
			case e.key.user:
				applied.User = true
			default:
				if applied.Items == nil {
					applied.Items = map[string]bool{}
				}
				applied.Items[e.id] = true
			}
		}
		if len(open) > 0 || !applied.Counters {
			b.applyOne(rec, applied, open)
		}
		b.part.include(rec.Seq)
	}
}

// erasedBefore reports whether a record must not change a value that was erased at a time. It came
// before the erasure, or it is the same erasure at another replica: what the user did since then
// stays.
func erasedBefore(rec *event.Record, erasedAt int64) bool {
	if rec.Event.Kind == ranker.EventErase {
		return erasedAt > 0 && rec.Event.Time <= erasedAt
	}
	return rec.Arrival < erasedAt
}

func (b *batch) applyOne(rec *event.Record, applied features.AppliedParts, open []*entity) {
	erases := rec.Event.Kind == ranker.EventErase || rec.Event.Kind == ranker.EventDelete
	if erases && len(open) == 0 {
		return // a later event erased it already
	}
	if info := b.state.ApplyRemaining(rec, applied); info != nil && !applied.Items[info.ID] {
		b.changedItems[info.ID] = info
		b.outdated[itemKey(info.ID)] = false
	}
	for _, e := range open {
		e.value.include(b.part.replica, rec.Seq)
		e.dirty = true
		if erases {
			e.value.erasedAt = max(e.value.erasedAt, rec.Arrival)
			b.outdated[e.key] = true
		}
	}
}
