package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/redisconn"
)

// restoreBatch is how many commands are sent in one pipeline.
const restoreBatch = 2000

// Restore replaces all users, items and counters that Redis holds for the tenant with the dump.
// progress (may be nil) is called with the number of users and items written so far. Replicas that
// are running add what the dump lacks of their logs.
func Restore(
	ctx context.Context, conn *redisconn.Conn, d *features.Dump, progress func(done int),
) error {
	if err := deleteState(ctx, conn); err != nil {
		return err
	}
	s := newOfflineStore(conn, d.Config)
	included := storedValue{} // the records that every value of the dump includes
	for _, p := range d.Parts {
		id, err := parseReplica(p.Replica)
		if err != nil {
			return err
		}
		if p.Seq > 0 && len(included.applied) < maxAppliedSeqs {
			all := appliedSeqs{replica: id, upTo: p.Seq, first: p.Seq, last: p.Seq}
			included.applied = append(included.applied, all)
		}
	}
	w := &restorer{s: s, ctx: ctx, pipe: conn.Pipeline(), progress: progress}
	for r, err := range d.Items {
		if err := w.item(&r, included, err); err != nil {
			return err
		}
	}
	for r, err := range d.Users {
		if err := w.user(&r, included, err); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	for _, p := range d.Parts {
		if err := s.restorePart(ctx, p); err != nil {
			return err
		}
	}
	return s.deleteOtherParts(ctx, d.Parts)
}

func parseReplica(name string) (uint64, error) {
	id, err := strconv.ParseUint(name, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("replica id %q is not a hexadecimal number: %w", name, err)
	}
	return id, nil
}

// deleteState removes the users, items and counters of a tenant, of every configuration. The
// claims of events stay until they expire. Imported tables and vectors stay as well, because they
// are not made of events.
func deleteState(ctx context.Context, conn *redisconn.Conn) error {
	return scan(ctx, conn, statePattern(conn.Prefix), func(keys []string) error {
		pipe := conn.Pipeline()
		for _, k := range keys {
			pipe.Unlink(ctx, k)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// deleteOtherParts removes the parts of replicas that published one during the restore. Some of
// what such a replica wrote was overwritten. Without its part, it applies its whole log again.
func (s *Store) deleteOtherParts(ctx context.Context, parts []features.CounterPart) error {
	names, err := s.conn.SMembers(ctx, s.keys.replicas()).Result()
	if err != nil {
		return err
	}
	for _, name := range names {
		isName := func(p features.CounterPart) bool { return p.Replica == name }
		if !slices.ContainsFunc(parts, isName) {
			if err := s.conn.Unlink(ctx, s.keys.counterPart(name)).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) restorePart(ctx context.Context, from features.CounterPart) error {
	id, err := parseReplica(from.Replica)
	if err != nil {
		return err
	}
	p := newCounterPart(s.cfg, id)
	p.counters, p.appliedTo = from.Counters, from.Seq
	p.applied = appliedSeqs{replica: id, upTo: from.Seq, first: from.Seq, last: from.Seq}
	for n := range chunkCount {
		p.dirtyChunks[n] = true
	}
	for len(p.dirtyChunks) > 0 {
		err := s.publishPart(ctx, p)
		if errors.Is(err, errPartChanged) { // the replica runs and has just published its own
			p.stored, err = s.storedPart(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restorer writes users and items in pipelines.
type restorer struct {
	s           *Store
	ctx         context.Context
	pipe        redis.Pipeliner
	queued, all int
	progress    func(done int)
}

func (w *restorer) item(r *features.ItemRow, included storedValue, err error) error {
	if err != nil {
		return err
	}
	it, err := w.s.counters.ItemFromRow(r)
	if err != nil {
		return err
	}
	if it.Info != nil {
		content := w.s.counters.AppendContent(nil, it)
		w.pipe.Set(w.ctx, w.s.keys.content(r.Item.ID), content, w.s.cfg.MaxAgeDuration())
	}
	raw := seal(w.s.counters.AppendItemState(included.encodeHeader(nil), r.Item.ID, it))
	return w.set(w.s.keys.item(r.Item.ID), raw)
}

func (w *restorer) user(r *features.UserRow, included storedValue, err error) error {
	if err != nil {
		return err
	}
	u, err := w.s.counters.UserFromRow(r)
	if err != nil {
		return err
	}
	raw := seal(w.s.counters.AppendUser(included.encodeHeader(nil), r.ID, u))
	return w.set(w.s.keys.state(userKey(r.ID)), raw)
}

func (w *restorer) set(key string, raw []byte) error {
	w.pipe.Set(w.ctx, key, raw, w.s.cfg.MaxAgeDuration())
	w.all++
	if w.queued++; w.queued < restoreBatch {
		return nil
	}
	return w.flush()
}

func (w *restorer) flush() error {
	w.queued = 0
	_, err := w.pipe.Exec(w.ctx)
	if w.progress != nil {
		w.progress(w.all)
	}
	return err
}

// Rebuild replaces everything that Redis holds for the tenant with what the logs in the replicas'
// data folders add up to. It starts with the state from (nil: an empty state) and applies the
// records that from does not include. The logs are merged as [eventlog.Merge] does, and an event in
// several of them counts once. done (may be nil) is called with the number of users and items
// written so far.
//
// No process may write to these folders meanwhile. Replicas whose logs are not among the folders
// add theirs by themselves, at once if they are running.
//
// The state is built in memory first, which takes as much as an embedded store of all the events.
func Rebuild(
	ctx context.Context, conn *redisconn.Conn, cfg features.Config, from *features.Dump,
	folders []string, done func(int),
) error {
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
			return fmt.Errorf("%w: the rebuilt state would lack events; Redis is unchanged", err)
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

// merger replays the records of several replicas into one state. It keeps each replica's counters
// separate.
//
// It also claims the events of the records. A replica that runs meanwhile finds Redis empty and
// applies its whole log. The claims tell it which of its events are counted already.
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

func newMerger(
	ctx context.Context, conn *redisconn.Conn, cfg features.Config, from *features.Dump,
) (_ *merger, err error) {
	m := &merger{
		ctx: ctx, conn: conn, cfg: cfg, state: features.New(cfg), pipe: conn.Pipeline(),
		parts: map[string]*features.CounterPart{}, seen: ingest.NewDeduplicator(cfg.DedupeIDs),
	}
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
	if !m.seen.Add(rec) {
		p.Seq = max(p.Seq, rec.Seq)
		return nil
	}
	if rec.Seq > p.Seq {
		m.state.Counters = p.Counters
		m.state.Apply(rec)
		p.Seq = rec.Seq
	}
	m.pipe.Set(m.ctx, m.keys.claim(&rec.Event), claimValue(rec.Replica, rec), defaultClaimTTL)
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
