package app

import (
	"context"
	"iter"
	"time"

	"relish/features"
	"relish/features/embedded"
	"relish/features/event"
	"relish/features/redis"
	"relish/internal/redisconn"
	"relish/ranker"
)

// StoreOptions say where the feature state is kept. Data is required.
type StoreOptions struct {
	// Data is the folder of the event log, the vectors and, without Redis, the state.
	Data string
	// Redis is the URL of the Redis or Redis Cluster that replicas share. If it is empty, the state
	// is embedded: it lives in memory, and a checkpoint of it in Data.
	Redis string
	// RedisReadTimeout is how long a ranking of up to 1,000 candidates waits for Redis; larger ones
	// wait twice as long.
	RedisReadTimeout time.Duration
	// StateCacheBytes bounds the local copies of the state in Redis.
	StateCacheBytes int64
}

// Store keeps the feature state and writes the event log. features/embedded and features/redis
// implement it; the tests in features/storetest hold for both. It is safe for concurrent use, except
// that nothing may be called after Close.
type Store interface {
	ranker.Features
	ranker.Recorder

	// Append validates events, writes the new ones to the event log and applies them to the state.
	// An accepted event is durable when Append returns. The outcomes are aligned with the events;
	// an error means that no outcome is known.
	Append(ctx context.Context, events []event.Event) ([]event.EventOutcome, error)
	// Item returns an item of the catalogue.
	Item(id string) (*ranker.Item, bool)
	// Items walks the catalogue in no particular order.
	Items(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error]
	// DeleteItem removes an item from the catalogue and reports whether it was there.
	DeleteItem(ctx context.Context, id string) (known bool, err error)
	// Forget erases a user from the state at once, and from the event log within
	// ingest.Options.EraseAfter.
	Forget(ctx context.Context, userID string) error
	// UseTable makes rankings read a version of an external table; nil removes the table.
	UseTable(name string, table *features.ExternalTable)
	// Flush waits until the state has everything that is in the event log.
	Flush(ctx context.Context) error
	// PendingErasures counts the erased users whose events are still in the event log.
	PendingErasures() int
	// Replica is the id of this data folder's event log.
	Replica() string
	// Close writes a checkpoint and releases the data folder.
	Close() error
}

// openStore opens the store on the locked data folder: in Redis if there is a connection, else
// embedded. onItems, which may be nil, is called with new and changed items.
func openStore(opt EngineOptions, conn *redisconn.Conn, onItems func([]*ranker.ItemInfo)) (Store, error) {
	opt.Ingest.Log = opt.Log
	data, state := opt.Store.Data, opt.Config.State
	// A nil *embedded.Store in a Store would not be equal to nil, so errors return a plain nil.
	if conn == nil {
		s, err := embedded.Open(data, state, embedded.Options{Ingest: opt.Ingest, OnItemsChanged: onItems})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := redis.Open(data, conn, state, redis.Options{
		Journal: opt.Ingest, OnItem: onItems,
		ReadTimeout: opt.Store.RedisReadTimeout, CacheBytes: opt.Store.StateCacheBytes,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
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
