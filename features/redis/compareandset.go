package redis

import (
	"context"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
)

// casScript stores a user or item if the value still has the revision that was read, and returns 1.
// Otherwise it returns 0 and stores nothing. A key of another type than string is deleted.
//
//	KEYS: the value, and for an item its content
//	ARGV: revision, value, lifetime in ms, and for an item what happens to its content:
//	      "keep", "drop", or "set" followed by the content
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
  else redis.call('PEXPIRE', KEYS[2], ARGV[3])
  end -- of the content
end
return 1`

// storeChanged stores the dirty entities. conflicts are those that another replica wrote since
// they were loaded; they are not stored.
func (b *batch) storeChanged(ctx context.Context) (conflicts []*entity, err error) {
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
	// The marker comes last: a server that has it has the values.
	marker := newMarker(b.records)
	marked := b.s.writePart(ctx, pipe, b.part, markerField, marker)
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := partWritten(marked); err != nil {
		return nil, err
	}
	b.part.stored.marker = marker
	for i, c := range cmds {
		stored, err := c.Int()
		if err != nil {
			return nil, err
		}
		dirty[i].dirty = false
		b.s.tracking.MarkChanged(b.s.keys.state(dirty[i].key))
		if stored == 0 {
			conflicts = append(conflicts, dirty[i])
		}
	}
	return conflicts, nil
}

// casArguments returns the keys and arguments of casScript for an entity.
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

// What the stream of changes says of a user or item: that it was erased, or that its content
// changed.
const (
	changeGone    = "gone"
	changeContent = ""
)

// changesPerMessage bounds the users and items that one message of the stream names.
const changesPerMessage = 500

// announceChanges tells the other replicas which of their copies are outdated, and calls
// Options.OnItem with the items that have new content.
func (b *batch) announceChanges(ctx context.Context) error {
	if len(b.outdated) > 0 {
		fields := make([]any, 0, 2*len(b.outdated)) // key of the state, what happened
		for key, erased := range b.outdated {
			b.s.cache.applyChange(key, erased)
			change := changeContent
			if erased {
				change = changeGone
			}
			fields = append(fields, b.s.keys.state(key), change)
		}
		stream := b.s.keys.changes()
		pipe := b.s.conn.Pipeline()
		for values := range slices.Chunk(fields, 2*changesPerMessage) {
			pipe.XAdd(ctx, &redis.XAddArgs{
				Stream: stream, MaxLen: maxChanges, Approx: true, Values: values,
			})
		}
		pipe.PExpire(ctx, stream, b.s.cfg.MaxAgeDuration())
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	if len(b.changedItems) > 0 && b.s.opt.OnItem != nil {
		b.s.opt.OnItem(slices.Collect(maps.Values(b.changedItems)))
	}
	return nil
}
