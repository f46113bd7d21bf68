package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"relish/features"
	"relish/internal/redisconn"
)

// Dump returns all that Redis holds for the configuration, in small steps beside the service. It is not of one
// moment: events that come meanwhile may be in it or not, each user and item by itself.
func Dump(ctx context.Context, conn *redisconn.Conn, cfg features.Config) (*features.Dump, error) {
	t := features.NewCounters(cfg)
	s := &Store{cfg: cfg, conn: conn, counters: t, keys: newKeys(conn.Prefix, t.LayoutHash()), log: discardLog}
	d := &features.Dump{Config: cfg, Items: s.itemRows(ctx), Users: s.userRows(ctx)}
	// The parts first: what is counted after them is in the replicas' logs, which come again on top.
	names, err := conn.SMembers(ctx, s.keys.replicas()).Result()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			continue
		}
		m, err := s.manifestOf(ctx, id)
		if err != nil || m == nil {
			return nil, errors.Join(fmt.Errorf("replica %s has no part of the tables that can be read", name), err)
		}
		p := newCounterPart(cfg, id)
		if _, err := s.loadChunks(ctx, p, m); err != nil {
			return nil, err
		}
		d.Parts = append(d.Parts, features.CounterPart{Replica: name, Seq: min(p.appliedTo, p.applied.last), Counters: p.counters})
	}
	return d, nil
}

// scanRows yields what decode makes of every value of a kind.
func scanRows[T any](ctx context.Context, s *Store, kind string, decode func(ctx context.Context, raw []any) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		errStop := errors.New("stop")
		seen := map[string]bool{} // a scan may give a key twice
		err := scan(ctx, s.conn, s.keys.pattern(kind), func(keys []string) error {
			fresh := keys[:0]
			for _, k := range keys {
				if !seen[k] {
					seen[k] = true
					fresh = append(fresh, k)
				}
			}
			vals, err := s.conn.GetMany(ctx, fresh)
			if err != nil {
				return err
			}
			list, err := decode(ctx, vals)
			for _, r := range list {
				if !yield(r, nil) {
					return errStop
				}
			}
			return err
		})
		if err != nil && !errors.Is(err, errStop) {
			var zero T
			yield(zero, err)
		}
	}
}

func (s *Store) userRows(ctx context.Context) iter.Seq2[features.UserRow, error] {
	return scanRows(ctx, s, "u:", func(_ context.Context, vals []any) (out []features.UserRow, err error) {
		for _, val := range vals {
			raw, _ := val.(string)
			if v := s.decodeStored(raw); v.packed != "" {
				id, u, err := s.counters.DecodeUser([]byte(v.packed))
				if err != nil {
					return out, err
				}
				out = append(out, s.counters.UserRow(id, u))
			}
		}
		return out, nil
	})
}

func (s *Store) itemRows(ctx context.Context) iter.Seq2[features.ItemRow, error] {
	return scanRows(ctx, s, "i:", func(ctx context.Context, vals []any) (out []features.ItemRow, err error) {
		var ids, contents []string
		var states []*features.ItemState
		for _, val := range vals {
			raw, _ := val.(string)
			if v := s.decodeStored(raw); v.packed != "" {
				id, it, err := s.counters.DecodeItem([]byte(v.packed))
				if err != nil {
					return nil, err
				}
				ids, states, contents = append(ids, id), append(states, it), append(contents, s.keys.content(id))
			}
		}
		if len(ids) == 0 {
			return nil, nil
		}
		beside, err := s.conn.GetMany(ctx, contents)
		if err != nil {
			return nil, err
		}
		for i, it := range states {
			if c := s.decodeContent(beside[i]); c != nil {
				it.Content = *c
			}
			out = append(out, s.counters.ItemRow(ids[i], it))
		}
		return out, nil
	})
}

// restoreBatch is how many users or items are written in one pipeline.
const restoreBatch = 2000

// Restore replaces all users, items and counters that Redis holds for the tenant with the dump. Replicas that are
// running bring in what the dump lacks of their logs.
func Restore(ctx context.Context, conn *redisconn.Conn, d *features.Dump, progress func(done int)) error {
	if err := deleteState(ctx, conn); err != nil {
		return err
	}
	t := features.NewCounters(d.Config)
	s := &Store{cfg: d.Config, conn: conn, counters: t, keys: newKeys(conn.Prefix, t.LayoutHash()), log: discardLog}
	base := storedValue{}
	for _, p := range d.Parts {
		id, err := strconv.ParseUint(p.Replica, 16, 64)
		if err != nil {
			return fmt.Errorf("replica id %q: %w", p.Replica, err)
		}
		if p.Seq > 0 && len(base.applied) < maxAppliedSeqs {
			base.applied = append(base.applied, appliedSeqs{replica: id, upTo: p.Seq, first: p.Seq, last: p.Seq})
		}
	}
	w := &restorer{s: s, ctx: ctx, pipe: conn.Pipeline(), progress: progress}
	for r, err := range d.Items {
		if err = w.item(&r, base, err); err != nil {
			return err
		}
	}
	for r, err := range d.Users {
		if err = w.user(&r, base, err); err != nil {
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
	return s.dropOthers(ctx, d.Parts)
}

// dropOthers removes the parts of replicas that published one during the restoring: of what they wrote until now some
// was written over. Without its part a replica applies its whole log again.
func (s *Store) dropOthers(ctx context.Context, parts []features.CounterPart) error {
	names, err := s.conn.SMembers(ctx, s.keys.replicas()).Result()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(parts, func(p features.CounterPart) bool { return p.Replica == name }) {
			if err := s.conn.Unlink(ctx, s.keys.counterPart(name)).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) restorePart(ctx context.Context, from features.CounterPart) error {
	id, err := strconv.ParseUint(from.Replica, 16, 64)
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
		if err := s.publishPart(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// restorer writes in pipelines.
type restorer struct {
	s        *Store
	ctx      context.Context
	pipe     redis.Pipeliner
	n, done  int
	progress func(done int)
}

func (w *restorer) item(r *features.ItemRow, v storedValue, err error) error {
	if err != nil {
		return err
	}
	it, err := w.s.counters.ItemFromRow(r)
	if err != nil {
		return err
	}
	if it.Info != nil {
		w.pipe.Set(w.ctx, w.s.keys.content(r.Item.ID), w.s.counters.AppendContent(nil, it), w.s.cfg.MaxAgeDuration())
	}
	raw := seal(w.s.counters.AppendItemState(v.encodeHeader(nil), r.Item.ID, it))
	return w.set(w.s.keys.item(r.Item.ID), raw)
}

func (w *restorer) user(r *features.UserRow, v storedValue, err error) error {
	if err != nil {
		return err
	}
	u, err := w.s.counters.UserFromRow(r)
	if err != nil {
		return err
	}
	raw := seal(w.s.counters.AppendUser(v.encodeHeader(nil), r.ID, u))
	return w.set(w.s.keys.state(userKey(r.ID)), raw)
}

func (w *restorer) set(key string, raw []byte) error {
	w.pipe.Set(w.ctx, key, raw, w.s.cfg.MaxAgeDuration())
	w.done++
	if w.n++; w.n < restoreBatch {
		return nil
	}
	return w.flush()
}

func (w *restorer) flush() error {
	w.n = 0
	_, err := w.pipe.Exec(w.ctx)
	if w.progress != nil {
		w.progress(w.done)
	}
	return err
}
