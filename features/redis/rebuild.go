package redis

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/redis/go-redis/v9"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/redisconn"
)

// Rebuild replaces all that Redis holds for the tenant with what the replicas' logs in the data folders add up to,
// on top of from (nil: nothing), whose replicas' logs go on after what it includes. The logs are merged as
// eventlog.Merge does, and an event that stands in several of them counts once. No process may write these
// folders meanwhile. Replicas whose logs are not among them bring theirs in by themselves, now if they are running.
//
// The state is put together in memory first: it takes what an embedded store of all of them would. done hears how
// many users and items are written.
func Rebuild(ctx context.Context, conn *redisconn.Conn, cfg features.Config, from *features.Dump, folders []string, done func(int)) error {
	cfg.MaxItems, cfg.MaxUsers = math.MaxInt32, math.MaxInt32 // Redis drops by age alone
	m, err := newMerger(ctx, conn, cfg, from)
	if err != nil {
		return err
	}
	logs := make([]string, len(folders))
	for i, dir := range folders {
		logs[i] = ingest.LogDir(dir)
	}
	for rec, err := range eventlog.Merge(logs...) {
		if err != nil {
			return fmt.Errorf("%w: the rebuilt state would lack events", err)
		}
		if err := m.add(&rec); err != nil {
			return err
		}
	}
	if err := m.flush(); err != nil {
		return err
	}
	return Restore(ctx, conn, m.dump(), done)
}

// merger replays records of several replicas into one state, each one's counts into tables of its own.
//
// It also claims their events. A replica that runs meanwhile finds Redis empty and applies its whole log; it must
// find that an event which it has as well is counted already.
type merger struct {
	ctx   context.Context
	conn  *redisconn.Conn
	keys  *keys
	cfg   features.Config
	state *features.State
	parts map[string]*features.CounterPart
	seen  *ingest.Deduplicator
	pipe  redis.Pipeliner
}

func newMerger(ctx context.Context, conn *redisconn.Conn, cfg features.Config, from *features.Dump) (_ *merger, err error) {
	m := &merger{ctx: ctx, conn: conn, cfg: cfg, state: features.New(cfg), parts: map[string]*features.CounterPart{}, seen: ingest.NewDeduplicator(cfg.DedupeIDs), pipe: conn.Pipeline()}
	m.keys = newKeys(conn.Prefix, m.state.LayoutHash())
	if from != nil {
		d := *from
		d.Config = cfg
		if m.state, err = d.State(""); err != nil {
			return nil, err
		}
		for _, p := range d.Parts {
			m.parts[p.Replica] = &p
		}
	}
	return m, nil
}

func (m *merger) add(rec *event.Record) error {
	p := m.parts[rec.Replica]
	if p == nil {
		p = &features.CounterPart{Replica: rec.Replica, Counters: features.NewCounters(m.cfg)}
		m.parts[rec.Replica] = p
	}
	if !m.seen.Add(rec.Event.ID) {
		p.Seq = max(p.Seq, rec.Seq)
		return nil
	}
	if rec.Seq > p.Seq {
		m.state.Counters = p.Counters
		m.state.Apply(rec)
		p.Seq = rec.Seq
	}
	m.pipe.Set(m.ctx, m.keys.claim(rec.Event.ID), claimValue(rec.Replica, rec.Seq), defaultClaimTTL)
	if m.pipe.Len() < restoreBatch {
		return nil
	}
	return m.flush()
}

func (m *merger) flush() error {
	_, err := m.pipe.Exec(m.ctx)
	return err
}

func (m *merger) dump() *features.Dump {
	d := m.state.Dump("")
	d.Parts = nil
	for _, name := range slices.Sorted(maps.Keys(m.parts)) {
		d.Parts = append(d.Parts, *m.parts[name])
	}
	return d
}
