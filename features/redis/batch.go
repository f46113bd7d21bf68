package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// batch is a run of one replica's records on the way into Redis: claim, load, apply, store; what another
// replica changed meanwhile is loaded and applied again.
type batch struct {
	s            *Store
	part         *counterPart
	records      []event.Record
	affected     [][]*entity     // aligned with records: whose state each changes
	state        *features.State // the entities loaded; its tables are the replica's own part
	entities     map[entityKey]*entity
	changedItems map[string]*ranker.ItemInfo // items with new content, told to OnItem
	outdated     map[entityKey]bool          // what other replicas' copies are behind of; true: it is gone
}

// entity is a user or item of a batch.
type entity struct {
	key   entityKey
	id    string // the user's or item's own id, "" while only a hash is known
	value storedValue
	dirty bool
}

// applyRecords brings the records, which are one replica's and in order, into Redis. It may be repeated with any
// of them. On an error some are in; Redis and the tables stay consistent.
func (s *Store) applyRecords(ctx context.Context, p *counterPart, records []event.Record) error {
	b := &batch{
		s: s, part: p, records: records, state: p.counters.NewState(),
		entities: map[entityKey]*entity{}, changedItems: map[string]*ranker.ItemInfo{}, outdated: map[entityKey]bool{},
	}
	if err := b.claim(ctx); err != nil {
		return err
	}
	for i := range b.records {
		b.affected = append(b.affected, b.affectedBy(&b.records[i].Event))
	}
	again := slices.Collect(maps.Values(b.entities))
	for round := 0; len(again) > 0 || round == 0; round++ {
		if err := backOff(ctx, round); err != nil {
			return err
		}
		if err := b.load(ctx, again); err != nil {
			return err
		}
		b.applyAll()
		var err error
		if again, err = b.storeChanged(ctx); err != nil {
			return err
		}
		s.stats.conflicts.Add(int64(len(again)))
	}
	return b.announceChanges(ctx)
}

// backOff waits before another round, longer and more at random each time.
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

// affectedBy returns whose state an event changes.
func (b *batch) affectedBy(e *event.Event) (out []*entity) {
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
	case event.EventItem, event.EventDelete:
		add(itemKey(e.ItemID), e.ItemID)
	case event.EventUser:
		add(userKey(e.UserID), e.UserID)
	case event.EventInteraction:
		if slices.Contains(b.s.cfg.Actions, e.Action) {
			add(userKey(e.UserID), e.UserID)
			add(itemKey(e.ItemID), e.ItemID)
		}
	case event.EventImpression:
		add(userKey(e.UserID), e.UserID)
		for _, id := range e.Shown {
			add(itemKey(id), id)
		}
	case event.EventErase:
		add(entityKey{true, e.UserHash}, "")
	}
	return out
}

// claim drops the records whose event another replica, or an older record, counted first.
func (b *batch) claim(ctx context.Context) error {
	pipe := b.s.conn.Pipeline()
	cmds := make([]*redis.StatusCmd, len(b.records))
	mine := make([]string, len(b.records))
	for i := range b.records {
		mine[i] = claimValue(b.part.replicaName(), b.records[i].Seq)
		cmds[i] = pipe.SetArgs(ctx, b.s.keys.claim(b.records[i].Event.ID), mine[i], redis.SetArgs{Mode: "NX", Get: true, TTL: b.s.opt.ClaimTTL})
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	kept := b.records[:0:0]
	for i, c := range cmds {
		who, err := c.Result()
		switch {
		case errors.Is(err, redis.Nil) || err == nil && who == mine[i]:
			kept = append(kept, b.records[i])
		case err != nil && !isWrongType(err):
			return err
		}
	}
	b.records = kept
	return nil
}

// claimValue says who counted an event.
func claimValue(replica string, seq uint64) string { return fmt.Sprintf("%s:%d", replica, seq) }

// load reads the entities' values and their contents; a damaged one counts as missing.
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
	var bare []*entity // items without their content
	for i, e := range list {
		raw, _ := vals[i].(string)
		e.value, e.dirty = b.s.decodeStored(raw), false
		if e.key.user {
			b.putUser(e)
		} else if it := b.putItem(e); it != nil && !it.Complete() {
			bare = append(bare, e)
		}
	}
	return b.loadContents(ctx, bare)
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
			if h := b.s.cache.get(e.key).latestCopy(); h != nil && h.item != nil && h.item.Hash == it.Hash {
				it.Content = h.item.Content
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
		if c := b.s.decodeContent(vals[i]); c != nil {
			it.Content = *c
		} else {
			it.Content = features.Content{} // lost: the item is as if nobody had described it
		}
	}
	return nil
}

// applyAll applies the records to whatever does not include them yet.
func (b *batch) applyAll() {
	r := b.part.replica
	for i := range b.records {
		rec := &b.records[i]
		skip := features.AppliedParts{Counters: b.part.includes(rec.Seq)}
		var open []*entity
		for _, e := range b.affected[i] {
			switch {
			case !e.value.includes(r, rec.Seq) && rec.Arrival >= e.value.erasedAt:
				open = append(open, e)
			case e.key.user:
				skip.User = true
			default:
				if skip.Items == nil {
					skip.Items = map[string]bool{}
				}
				skip.Items[e.id] = true
			}
		}
		if len(open) > 0 || !skip.Counters {
			b.applyOne(rec, skip, open)
		}
		b.part.include(rec.Seq)
	}
}

func (b *batch) applyOne(rec *event.Record, skip features.AppliedParts, open []*entity) {
	gone := rec.Event.Kind == event.EventErase || rec.Event.Kind == event.EventDelete
	if gone && len(open) == 0 {
		return // forgotten already, by a later event
	}
	if info := b.state.ApplyRemaining(rec, skip); info != nil && !skip.Items[info.ID] {
		b.changedItems[info.ID] = info
		b.outdated[itemKey(info.ID)] = false
	}
	for _, e := range open {
		e.value.include(b.part.replica, rec.Seq)
		e.dirty = true
		if gone {
			e.value.erasedAt = max(e.value.erasedAt, rec.Arrival)
			b.outdated[e.key] = true
		}
	}
}

// casScript stores an item or user if its revision is the one that was read, and else answers what stands
// there now. KEYS: value, and of an item its content. ARGV: revision, value, TTL in ms, and for the
// content "keep", "drop", or "set" and the content.
const casScript = `
local kind = redis.call('TYPE', KEYS[1])['ok']
local rev = ''
if kind == 'string' then rev = redis.call('GETRANGE', KEYS[1], 4, 11)
elseif kind ~= 'none' then redis.call('DEL', KEYS[1]) end
if rev ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if KEYS[2] then
  if ARGV[4] == 'set' then redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[3])
  elseif ARGV[4] == 'drop' then redis.call('DEL', KEYS[2])
  else redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
end
return 1`

// storeChanged writes what changed, and returns the entities that somebody else wrote meanwhile.
func (b *batch) storeChanged(ctx context.Context) (lost []*entity, err error) {
	var dirty []*entity
	for _, e := range b.entities {
		if e.dirty {
			dirty = append(dirty, e)
		}
	}
	if len(dirty) == 0 {
		return nil, nil
	}
	pipe := b.s.conn.Pipeline()
	cmds := make([]*redis.Cmd, len(dirty))
	ttl := b.s.cfg.MaxAgeDuration().Milliseconds()
	for i, e := range dirty {
		keys, args := b.casArguments(e, ttl)
		cmds[i] = pipe.Eval(ctx, casScript, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, c := range cmds {
		won, err := c.Int()
		if err != nil {
			return nil, err
		}
		dirty[i].dirty = false
		if won == 0 {
			lost = append(lost, dirty[i])
		}
	}
	return lost, nil
}

// casArguments returns the script's keys and arguments for an entity.
func (b *batch) casArguments(e *entity, ttl int64) (keys []string, args []any) {
	buf := e.value.encodeHeader(make([]byte, 0, 512))
	keys, args = []string{b.s.keys.state(e.key)}, []any{e.value.rev, nil, ttl}
	if e.key.user {
		if u := b.state.UserState(e.id); u != nil {
			buf = b.state.AppendUser(buf, e.id, u)
		}
		args[1] = seal(buf)
		return keys, args
	}
	keys = append(keys, b.s.keys.content(e.id))
	switch it := b.state.ItemState(e.id); {
	case it == nil:
		args = append(args, "drop")
	case it.Info != nil && it.Hash == 0:
		content := b.state.AppendContent(nil, it)
		buf = b.state.AppendItemState(buf, e.id, it)
		args = append(args, "set", content)
	default:
		buf = b.state.AppendItemState(buf, e.id, it)
		args = append(args, "keep")
	}
	args[1] = seal(buf)
	return keys, args
}

// announceChanges tells the other replicas whose copies are outdated, and this one's encoder of new texts.
func (b *batch) announceChanges(ctx context.Context) error {
	if len(b.outdated) > 0 {
		keys := make([]any, 0, 2*len(b.outdated))
		for k, gone := range b.outdated {
			b.s.cache.applyChange(k, gone)
			keys = append(keys, b.s.keys.state(k), map[bool]string{true: changeGone}[gone])
		}
		pipe := b.s.conn.Pipeline()
		for part := range slices.Chunk(keys, 1000) {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: b.s.keys.changes(), MaxLen: maxChanges, Approx: true, Values: part})
		}
		pipe.PExpire(ctx, b.s.keys.changes(), b.s.cfg.MaxAgeDuration())
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	if len(b.changedItems) > 0 && b.s.opt.OnItem != nil {
		b.s.opt.OnItem(slices.Collect(maps.Values(b.changedItems)))
	}
	return nil
}
