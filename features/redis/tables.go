package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/features"
)

// sum brings entries of the tables up to date, and notes those of this replica as to be published.
func (o *owner) sum(changed []features.Value) {
	for _, v := range changed {
		o.part.dirty[chunkOf(v)] = true
	}
	o.addUp(changed)
}

func (o *owner) addUp(changed []features.Value) {
	if len(changed) == 0 {
		return
	}
	parts := []*features.Tables{o.part.own}
	for _, p := range o.others {
		parts = append(parts, p.own)
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	for _, v := range changed {
		o.s.tables.SetSum(v, parts...)
	}
}

// publish writes this replica's part, if there is anything new.
func (o *owner) publish(ctx context.Context) error {
	if len(o.part.dirty) == 0 && o.part.version > 0 && o.part.told == o.part.done {
		return nil
	}
	return o.s.publish(ctx, o.part)
}

// refresh loads what other replicas published.
func (o *owner) refresh(ctx context.Context) error {
	names, err := o.s.conn.SMembers(ctx, o.s.keys.replicas()).Result()
	if err != nil && !absent(err) {
		return err
	}
	var changed []features.Value
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil || id == o.s.replica {
			continue
		}
		m, err := o.s.manifestOf(ctx, id)
		if err != nil {
			return err
		}
		if m == nil {
			continue // it will come, or it has expired: what was counted stays until a restart
		}
		p := o.others[id]
		if p == nil {
			p = newPart(o.s.cfg, id)
			o.others[id] = p
		}
		if p.version != m.version {
			values, err := o.s.fill(ctx, p, m)
			if err != nil {
				return err
			}
			changed = append(changed, values...)
		}
	}
	o.addUp(changed)
	return nil
}

// changes drops the local copies that other replicas have outdated.
func (o *owner) changes(ctx context.Context) error {
	key := o.s.keys.changes()
	if o.change == "" {
		last, err := o.s.conn.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil && !absent(err) {
			return err
		}
		o.change = "0-0"
		if len(last) > 0 {
			o.change = last[0].ID
		}
	}
	seen := 0
	for {
		streams, err := o.s.conn.XRead(ctx, &redis.XReadArgs{Streams: []string{key, o.change}, Count: 1000, Block: -1}).Result()
		if err != nil && !absent(err) {
			return err
		}
		if len(streams) == 0 || len(streams[0].Messages) == 0 {
			break
		}
		for _, m := range streams[0].Messages {
			for name, how := range m.Values {
				o.s.local.moved(entityOf(name), how == changeGone)
			}
			o.change = m.ID
		}
		if seen += len(streams[0].Messages); len(streams[0].Messages) < 1000 {
			break
		}
	}
	// The stream is trimmed: after a long silence, or a flood, some messages may have been missed.
	if seen >= maxChanges || time.Since(o.refreshed) > 20*tick {
		o.s.local.outdateAll()
	}
	o.refreshed = time.Now()
	return nil
}
