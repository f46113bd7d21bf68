package redis

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/redis/go-redis/v9"

	"relish/internal/redisconn"
	"relish/ranker"
)

// scanCount is how many keys Redis looks at in one step: a few milliseconds for it at most.
const scanCount = 1000

// Items returns all described items, in no order, as Redis has them at some time during the call. It
// asks in small steps, so that requests are not held up; it ends with the first error.
func (s *Store) Items(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error] {
	return func(yield func(*ranker.ItemInfo, error) bool) {
		errStop := errors.New("stop")
		err := scan(ctx, s.conn, s.keys.pattern("c:"), func(keys []string) error {
			vals, err := s.conn.GetMany(ctx, keys)
			if err != nil {
				return err
			}
			for _, v := range vals {
				if c := s.decodeContent(v); c != nil && !yield(c.Info, nil) {
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

// deleteState removes what any configuration of this tenant keeps of users, items and counters. Who counted which event
// stays known for its hour, and so do imported tables and vectors, which are not made of events.
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

// scan calls each with the keys of every master that match, one call at a time. A key may come twice.
func scan(ctx context.Context, conn *redisconn.Conn, pattern string, each func(keys []string) error) error {
	var mu sync.Mutex
	one := func(ctx context.Context, c redis.Cmdable) error {
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
		return cluster.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error { return one(ctx, m) })
	}
	return one(ctx, conn)
}
