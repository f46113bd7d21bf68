package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"relish/features/embedded"
	"relish/features/external"
	"relish/features/redis"
	"relish/features/trends"
	"relish/internal/redisconn"
	"relish/ranker"
)

// DefaultRedisReadTimeout is StoreOptions.RedisReadTimeout if that is 0.
const DefaultRedisReadTimeout = redis.DefaultReadTimeout

// StoreOptions say where the feature state is kept. Data is required.
type StoreOptions struct {
	// Data is the folder of the event log, the vectors and, without Redis, the state.
	Data string
	// Redis is the URL of the Redis or Redis Cluster that replicas share. If it is empty, the state
	// is embedded: it lives in memory, and a checkpoint of it in Data.
	Redis string
	// RedisReadTimeout is how long a ranking of up to 1,000 candidates waits for Redis; larger ones
	// wait twice as long. 0: DefaultRedisReadTimeout.
	RedisReadTimeout time.Duration
	// StateCacheBytes bounds the local copies of the state in Redis.
	StateCacheBytes int64
	// AcceptClock confirms that the system's clock is right, however far it is ahead of the newest
	// event of the log.
	AcceptClock bool
}

// Store is a ranker.Store that also takes external tables and tells where its event log ends.
// features/embedded and features/redis implement it.
type Store interface {
	ranker.Store
	external.Target
	trends.Log
}

// openStore opens the store on the locked data folder: in Redis if there is a connection, else
// embedded. onItems, which may be nil, is called with new and changed items.
func openStore(
	opt EngineOptions, conn *redisconn.Conn, onItems func([]*ranker.ItemInfo),
) (Store, error) {
	opt.Ingest.Log, opt.Ingest.AcceptClock = opt.Log, opt.Store.AcceptClock
	data, state := opt.Store.Data, opt.Config.State
	// A nil *embedded.Store in a Store would not be equal to nil, so errors return a plain nil.
	if conn == nil {
		s, err := embedded.Open(data, state, embedded.Options{
			Ingest: opt.Ingest, OnItemsChanged: onItems,
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := redis.Open(data, conn, state, redis.Options{
		Ingest: opt.Ingest, OnItem: onItems,
		ReadTimeout: opt.Store.RedisReadTimeout, CacheBytes: opt.Store.StateCacheBytes,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// connectChecked is connect for a command that cannot do without Redis: it fails at once if Redis
// does not answer.
func (o *StoreOptions) connectChecked(ctx context.Context) (*redisconn.Conn, error) {
	conn, err := o.connect() //nolint:contextcheck // its goroutines live until Close
	if conn == nil || err != nil {
		return nil, err
	}
	if err := conn.Check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("--redis: %w", err), conn.Close())
	}
	return conn, nil
}

// connect opens the Redis connection; it is nil if the state is embedded.
func (o *StoreOptions) connect() (*redisconn.Conn, error) {
	if o.Redis == "" {
		return nil, nil
	}
	conn, err := redisconn.Open(o.Redis)
	if err != nil {
		return nil, Usagef("--redis: %w", err)
	}
	return conn, nil
}
