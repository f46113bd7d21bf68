package redisconn

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Unread takes the place of a value that could not be read.
type Unread struct{}

// GetMany reads all keys in one round trip. A single server gets one MGET. A cluster gets one MGET
// for each hash tag, which every key must have: one pipeline for each node, and the nodes in
// parallel.
//
// The result is aligned with keys: a string, nil for a key that does not exist, or Unread. The
// error is the first one; what could be read is in the result all the same. GetMany does not
// report to the breaker.
func (c *Conn) GetMany(ctx context.Context, keys []string) ([]any, error) {
	if !c.Cluster {
		vals, err := c.MGet(ctx, keys...).Result()
		if err == nil && len(vals) != len(keys) {
			err = errors.New("redis: the reply to MGET has a wrong number of values")
		}
		if err != nil {
			vals = AllUnread(len(keys))
		}
		return vals, err
	}
	groups := map[string][]int{} // indexes of keys, by hash tag
	for i, k := range keys {
		groups[hashTagPrefix(k)] = append(groups[hashTagPrefix(k)], i)
	}
	pipe := c.Pipeline()
	cmds := make(map[string]*redis.SliceCmd, len(groups))
	for tag, indexes := range groups {
		group := make([]string, len(indexes))
		for n, i := range indexes {
			group[n] = keys[i]
		}
		cmds[tag] = pipe.MGet(ctx, group...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]any, len(keys))
	var first error
	for tag, indexes := range groups {
		vals, err := cmds[tag].Result()
		for n, i := range indexes {
			if err == nil && n < len(vals) {
				out[i] = vals[n]
			} else {
				out[i] = Unread{}
			}
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return out, first
}

// AllUnread is the result of GetMany for n keys if none of them could be read.
func AllUnread(n int) []any {
	vals := make([]any, n)
	for i := range vals {
		vals[i] = Unread{}
	}
	return vals
}

// hashTagPrefix returns a key up to the end of its hash tag. Keys with the same prefix lie on one
// node.
func hashTagPrefix(key string) string { return key[:strings.IndexByte(key, '}')+1] }
