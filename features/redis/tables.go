package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/features"
)

// countersChanged brings entries of the tables up to date, and notes those of this replica as to be published.
func (o *syncer) countersChanged(changed []features.CounterKey) {
	for _, v := range changed {
		o.own.dirtyChunks[chunkOf(v)] = true
	}
	o.sumCounters(changed)
}

func (o *syncer) sumCounters(changed []features.CounterKey) {
	if len(changed) == 0 {
		return
	}
	parts := []*features.Counters{o.own.counters}
	for _, p := range o.others {
		parts = append(parts, p.counters)
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	for _, v := range changed {
		o.s.counters.SetSum(v, parts...)
	}
}

// publish writes this replica's part, if there is anything new.
func (o *syncer) publish(ctx context.Context) error {
	if len(o.own.dirtyChunks) == 0 && o.own.version > 0 && o.own.publishedTo == o.own.appliedTo {
		return nil
	}
	return o.s.publishPart(ctx, o.own)
}

// refreshOthers loads what other replicas published.
func (o *syncer) refreshOthers(ctx context.Context) error {
	names, err := o.s.conn.SMembers(ctx, o.s.keys.replicas()).Result()
	if err != nil && !isAbsent(err) {
		return err
	}
	var changed []features.CounterKey
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
			p = newCounterPart(o.s.cfg, id)
			o.others[id] = p
		}
		if p.version != m.version {
			values, err := o.s.loadChunks(ctx, p, m)
			if err != nil {
				return err
			}
			changed = append(changed, values...)
		}
	}
	o.sumCounters(changed)
	return nil
}

// readChanges drops the local copies that other replicas have outdated.
func (o *syncer) readChanges(ctx context.Context) error {
	key := o.s.keys.changes()
	if o.lastChange == "" {
		last, err := o.s.conn.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil && !isAbsent(err) {
			return err
		}
		o.lastChange = "0-0"
		if len(last) > 0 {
			o.lastChange = last[0].ID
		}
	}
	seen := 0
	for {
		streams, err := o.s.conn.XRead(ctx, &redis.XReadArgs{Streams: []string{key, o.lastChange}, Count: 1000, Block: -1}).Result()
		if err != nil && !isAbsent(err) {
			return err
		}
		if len(streams) == 0 || len(streams[0].Messages) == 0 {
			break
		}
		for _, m := range streams[0].Messages {
			for name, how := range m.Values {
				o.s.cache.applyChange(entityOf(name), how == changeGone)
			}
			o.lastChange = m.ID
		}
		if seen += len(streams[0].Messages); len(streams[0].Messages) < 1000 {
			break
		}
	}
	// The stream is trimmed: after a long silence, or a flood, some messages may have been missed.
	if seen >= maxChanges || time.Since(o.changesReadAt) > 20*syncInterval {
		o.s.cache.markAllOutdated()
	}
	o.changesReadAt = time.Now()
	return nil
}
