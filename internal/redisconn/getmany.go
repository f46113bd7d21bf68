package redisconn

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Value is the answer of GetMany for one key.
type Value struct {
	Data   string // "" if the key does not exist: no value of Relish is empty
	Unread bool   // the key could not be read
}

// GetMany reads all keys in one round trip. A single server gets one MGET. A cluster gets one MGET
// for each hash tag, which every key must have: one pipeline for each node, and the nodes in
// parallel.
//
// The result is aligned with keys. The error is the first one; what could be read is in the result
// all the same. GetMany does not report to the breaker.
func (c *Conn) GetMany(ctx context.Context, keys []string) ([]Value, error) {
	out := AllUnread(len(keys))
	if !c.Cluster {
		cmd := newMGet(ctx, keys)
		_ = c.Process(ctx, cmd) // the command has the error
		vals, err := valuesOf(cmd, len(keys))
		for i, v := range vals {
			out[i] = Value{Data: v}
		}
		return out, err
	}
	groups := map[string][]int{} // indexes of keys, by hash tag
	for i, k := range keys {
		groups[hashTagPrefix(k)] = append(groups[hashTagPrefix(k)], i)
	}
	pipe := c.Pipeline()
	cmds := make(map[string]*redis.StringSliceCmd, len(groups))
	for tag, indexes := range groups {
		group := make([]string, len(indexes))
		for n, i := range indexes {
			group[n] = keys[i]
		}
		cmds[tag] = newMGet(ctx, group)
		_ = pipe.Process(ctx, cmds[tag]) // it is sent by Exec
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var first error
	for tag, indexes := range groups {
		vals, err := valuesOf(cmds[tag], len(indexes))
		for n, v := range vals {
			out[indexes[n]] = Value{Data: v}
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return out, first
}

// newMGet returns an MGET. Other than the client's own, it allocates nothing for each key, and one
// string for each value. The keys must not change before it has been sent.
func newMGet(ctx context.Context, keys []string) *redis.StringSliceCmd {
	args := make([]any, 1, 1+len(keys))
	args[0] = "mget"
	for i := range keys {
		args = append(args, &keys[i])
	}
	return redis.NewStringSliceCmd(ctx, args...)
}

// valuesOf returns the n values that an MGET has read, or its error.
func valuesOf(cmd *redis.StringSliceCmd, n int) ([]string, error) {
	vals, err := cmd.Result()
	if err == nil && len(vals) != n {
		err = errors.New("redis: the reply to MGET has a wrong number of values")
	}
	if err != nil {
		return nil, err
	}
	return vals, nil
}

// AllUnread is the result of GetMany for n keys if none of them could be read.
func AllUnread(n int) []Value {
	vals := make([]Value, n)
	for i := range vals {
		vals[i].Unread = true
	}
	return vals
}

// hashTagPrefix returns a key up to the end of its hash tag. Keys with the same prefix lie on one
// node.
func hashTagPrefix(key string) string { return key[:strings.IndexByte(key, '}')+1] }
