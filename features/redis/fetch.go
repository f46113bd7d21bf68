package redis

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"relish/internal/redisconn"
)

// unread stands where a key could not be read.
type unread struct{}

// mget reads all keys in one round trip: one MGET, or on a cluster one per bucket, each node's in one
// pipeline and the nodes in parallel. The answer is aligned with keys: a string, nil for no such key, unread.
// The error is the first; what could be read stands in the answer all the same.
func mget(ctx context.Context, conn *redisconn.Conn, keys []string) ([]any, error) {
	if !conn.Cluster {
		vals, err := conn.MGet(ctx, keys...).Result()
		if err == nil && len(vals) != len(keys) {
			err = errors.New("redis: MGET answered another number of values")
		}
		if err != nil {
			vals = make([]any, len(keys))
			for i := range vals {
				vals[i] = unread{}
			}
		}
		return vals, err
	}
	groups := map[string][]int{}
	for i, k := range keys {
		groups[slot(k)] = append(groups[slot(k)], i)
	}
	pipe := conn.Pipeline()
	cmds := make(map[string]*redis.SliceCmd, len(groups))
	for tag, at := range groups {
		part := make([]string, len(at))
		for n, i := range at {
			part[n] = keys[i]
		}
		cmds[tag] = pipe.MGet(ctx, part...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]any, len(keys))
	var first error
	for tag, at := range groups {
		vals, err := cmds[tag].Result()
		for n, i := range at {
			if err == nil && n < len(vals) {
				out[i] = vals[n]
			} else {
				out[i] = unread{}
			}
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return out, first
}
