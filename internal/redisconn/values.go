package redisconn

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Unread stands where a key could not be read.
type Unread struct{}

// GetMany reads all keys in one round trip: one MGET, or on a cluster one per hash tag (which every key must
// have), each node's in one pipeline and the nodes in parallel. The answer is aligned with keys: a string,
// nil for no such key, or Unread. The error is the first; what could be read stands in the answer all the
// same. The outcome is not reported to the breaker.
func (c *Conn) GetMany(ctx context.Context, keys []string) ([]any, error) {
	if !c.Cluster {
		vals, err := c.MGet(ctx, keys...).Result()
		if err == nil && len(vals) != len(keys) {
			err = errors.New("redis: MGET answered another number of values")
		}
		if err != nil {
			vals = AllUnread(len(keys))
		}
		return vals, err
	}
	groups := map[string][]int{}
	for i, k := range keys {
		groups[hashTagPrefix(k)] = append(groups[hashTagPrefix(k)], i)
	}
	pipe := c.Pipeline()
	cmds := make(map[string]*redis.SliceCmd, len(groups))
	for t, at := range groups {
		part := make([]string, len(at))
		for n, i := range at {
			part[n] = keys[i]
		}
		cmds[t] = pipe.MGet(ctx, part...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]any, len(keys))
	var first error
	for t, at := range groups {
		vals, err := cmds[t].Result()
		for n, i := range at {
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

// AllUnread is the answer for n keys when none could be read.
func AllUnread(n int) []any {
	vals := make([]any, n)
	for i := range vals {
		vals[i] = Unread{}
	}
	return vals
}

// hashTagPrefix returns a key up to the end of its hash tag: keys alike so far lie on one node.
func hashTagPrefix(key string) string { return key[:strings.IndexByte(key, '}')+1] }
