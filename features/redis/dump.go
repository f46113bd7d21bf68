package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/features"
	"relish/internal/redisconn"
	"relish/ranker"
)

// itemTimeout bounds the read of a single item. No ranking waits for it.
const itemTimeout = 500 * time.Millisecond

// Item returns an item's content, and whether the item has been described. While Redis does not
// answer, the local copy is used.
func (s *Store) Item(id string) (*ranker.Item, bool) {
	return s.readItem(context.Background(), id)
}

func (s *Store) readItem(ctx context.Context, id string) (*ranker.Item, bool) {
	ctx, cancel := context.WithTimeout(ctx, itemTimeout)
	defer cancel()
	key := s.keys.item(id)
	c, invalidations := s.cache.get(itemKey(id)).latestCopy(), s.cache.invalidations.Load()
	if s.conn.Up() {
		vals, err := s.conn.GetMany(ctx, []string{key, s.keys.content(id)})
		s.conn.Report(err)
		if err == nil {
			c = s.decodeItem(vals[0].Data)
			content := s.decodeContent(vals[1].Data)
			if content != nil && c.item != nil && content.Hash == c.item.Hash {
				c.item.Content = *content
			}
			s.cacheCopy(itemKey(id), c, invalidations)
		}
	}
	if c == nil || c.item == nil || c.item.Info == nil {
		return nil, false
	}
	item := c.item.Info.Item()
	return &item, true
}

// errStop ends a scan whose caller wants no more. It never reaches the caller.
var errStop = errors.New("stop")

// Items returns all described items, in no order. Items that change during the call may be as
// before or as after the change. It reads in small steps, so that it does not hold up requests,
// and ends with the first error. An item may come twice.
func (s *Store) Items(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error] {
	return func(yield func(*ranker.ItemInfo, error) bool) {
		err := scan(ctx, s.conn, s.keys.pattern("c:"), func(keys []string) error {
			vals, err := s.conn.GetMany(ctx, keys)
			if err != nil {
				return err
			}
			for _, v := range vals {
				if c := s.decodeContent(v.Data); c != nil && !yield(c.Info, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// Dump returns everything that Redis holds for the configuration. It reads in small steps beside
// the service, so it is no snapshot of one moment: an event that comes meanwhile may be missing in
// some users and items. Replicas that apply their logs after the dump's Seq make up for that.
func Dump(ctx context.Context, conn *redisconn.Conn, cfg features.Config) (*features.Dump, error) {
	s := newOfflineStore(conn, cfg)
	d := &features.Dump{Config: cfg, Items: s.itemRows(ctx), Users: s.userRows(ctx)}
	// The counters are read before the users and items. What is counted later is in the replicas'
	// logs, after the Seq of their parts.
	names, err := conn.SMembers(ctx, s.keys.replicas()).Result()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			continue
		}
		m, _, err := s.manifestOf(ctx, id)
		if err != nil || m == nil {
			return nil, errors.Join(fmt.Errorf("the counters of replica %s in Redis are missing "+
				"or damaged: start that replica, or run relish rebuild --redis with its log",
				name), err)
		}
		p := newCounterPart(cfg, id)
		if _, err := s.loadChunks(ctx, p, m); err != nil {
			return nil, err
		}
		d.Parts = append(d.Parts, features.CounterPart{
			Replica: name, Seq: min(p.appliedTo, p.applied.last), Counters: p.counters,
		})
	}
	return d, nil
}

// newOfflineStore returns a store that can decode and write values, without a log and a syncer.
func newOfflineStore(conn *redisconn.Conn, cfg features.Config) *Store {
	counters := features.NewCounters(cfg)
	return &Store{
		cfg: cfg, conn: conn, counters: counters, log: discardLog,
		keys: newKeys(conn.Prefix, counters.LayoutHash()),
	}
}

// scanRows yields the rows that decode makes of every value of a kind, each value once.
func scanRows[T any](
	ctx context.Context, s *Store, kind string,
	decode func(ctx context.Context, vals []redisconn.Value) ([]T, error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		seen := map[string]bool{} // a scan may return a key twice
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
			rows, err := decode(ctx, vals)
			for _, r := range rows {
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
	decode := func(_ context.Context, vals []redisconn.Value) (out []features.UserRow, err error) {
		for _, val := range vals {
			if v := s.decodeStored(userValue, val.Data); v.packed != "" {
				id, u, err := s.counters.DecodeUser([]byte(v.packed))
				if err != nil {
					return out, err
				}
				out = append(out, s.counters.UserRow(id, u))
			}
		}
		return out, nil
	}
	return scanRows(ctx, s, "u:", decode)
}

func (s *Store) itemRows(ctx context.Context) iter.Seq2[features.ItemRow, error] {
	decode := func(
		ctx context.Context, vals []redisconn.Value,
	) (out []features.ItemRow, err error) {
		var ids, contentKeys []string
		var states []*features.ItemState
		for _, val := range vals {
			if v := s.decodeStored(itemValue, val.Data); v.packed != "" {
				id, it, err := s.counters.DecodeItem([]byte(v.packed))
				if err != nil {
					return nil, err
				}
				ids, states = append(ids, id), append(states, it)
				contentKeys = append(contentKeys, s.keys.content(id))
			}
		}
		if len(ids) == 0 {
			return nil, nil
		}
		contents, err := s.conn.GetMany(ctx, contentKeys)
		if err != nil {
			return nil, err
		}
		for i, it := range states {
			if c := s.decodeContent(contents[i].Data); c != nil {
				it.Content = *c
			}
			out = append(out, s.counters.ItemRow(ids[i], it))
		}
		return out, nil
	}
	return scanRows(ctx, s, "i:", decode)
}

// scanCount is how many keys Redis looks at in one step. A step takes Redis a few milliseconds at
// most.
const scanCount = 1000

// scan calls each with the matching keys of every master, one call at a time. A key may come twice.
func scan(
	ctx context.Context, conn *redisconn.Conn, pattern string, each func(keys []string) error,
) error {
	var mu sync.Mutex
	scanNode := func(ctx context.Context, c redis.Cmdable) error {
		for cursor := uint64(0); ; {
			keys, next, err := c.Scan(ctx, cursor, pattern, scanCount).Result()
			if err != nil {
				return err
			}
			if len(keys) > 0 {
				mu.Lock()
				err = each(keys)
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				return ctx.Err()
			}
		}
	}
	if cluster, ok := conn.UniversalClient.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
			return scanNode(ctx, m)
		})
	}
	return scanNode(ctx, conn)
}
