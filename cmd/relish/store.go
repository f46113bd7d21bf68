package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"relish/api"
	"relish/features"
	"relish/features/embedded"
	"relish/features/event"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/internal/config"
	"relish/internal/redisconn"
	"relish/ranker"
)

// storeFlags say where state lives.
type storeFlags struct {
	dataFlags
	Redis            string        `help:"Share the state of several replicas: redis://HOST:PORT, rediss://..., redis-cluster://HOST,HOST..., redis-sentinel://HOST,HOST.../MASTER; ?prefix=TENANT. Each replica keeps its own --data. Without it the state is embedded. Set RELISH_REDIS where the URL holds a password." placeholder:"URL"`
	RedisReadTimeout time.Duration `help:"What a ranking waits for Redis at most (1,000 candidates: twice). Then local copies are ranked and the answer says features_stale." default:"20ms"`
	StateCacheBytes  int64         `help:"Memory for local copies of what Redis holds. They save decoding, and serve while Redis is away." default:"268435456"`
}

// store is what both stores can do.
type store interface {
	ranker.Features
	ranker.Recorder
	Append(ctx context.Context, events []event.Event) ([]event.EventOutcome, error)
	Item(id string) (*ranker.Item, bool)
	Items(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error]
	DeleteItem(ctx context.Context, id string) (known bool, err error)
	Forget(ctx context.Context, userID string) error
	UseTable(name string, c *features.ExternalTable)
	Flush(ctx context.Context) error
	PendingErasures() int
	Replica() string
	Close() error
}

// storeOptions are what a command asks of either store.
type storeOptions struct {
	journal ingest.Options
	onItem  func([]*ranker.ItemInfo)
}

// openStore opens the store on the locked data folder: the embedded one, or with a connection the shared one.
func openStore(flags *storeFlags, conn *redisconn.Conn, cfg *config.Config, opt storeOptions, log *slog.Logger) (store, error) {
	opt.journal.Log = log
	if conn == nil {
		return embedded.Open(flags.Data, cfg.State, embedded.Options{Ingest: opt.journal, OnItemsChanged: opt.onItem})
	}
	return redis.Open(flags.Data, conn, cfg.State, redis.Options{
		Journal: opt.journal, OnItem: opt.onItem, ReadTimeout: flags.RedisReadTimeout, CacheBytes: flags.StateCacheBytes,
	})
}

// connect makes the client of --redis, nil without.
func (f *storeFlags) connect() (*redisconn.Conn, error) {
	if f.Redis == "" {
		return nil, nil
	}
	conn, err := redisconn.Open(f.Redis)
	if err != nil {
		return nil, fmt.Errorf("%w: --redis: %v", errUsage, err)
	}
	return conn, nil
}

// flushTime bounds how long a command waits for the store to have what is in the log, while nothing moves.
const flushTime = 10 * time.Second

// flushStore waits until the store has what is in the log.
func flushStore(ctx context.Context, s store) error {
	p := newProgress("to Redis")
	defer p.end()
	lag := ^uint64(0)
	for {
		fctx, cancel := context.WithTimeout(ctx, flushTime)
		err := s.Flush(fctx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		r, ok := s.(*redis.Store)
		if !ok {
			return err
		}
		if now := r.Stats().Lag; now >= lag {
			return fmt.Errorf("the events are in the log, but Redis does not take them (%d to go): serve brings them in when it answers", now)
		} else {
			lag = now
		}
	}
}

// storeCheck is what a load balancer wants to know of the store. Without Redis rankings go on, so the
// service is ready, and says what it lacks.
func storeCheck(s store) api.ReadinessCheck {
	check := api.ReadinessCheck{Name: "store", OK: true}
	if r, ok := s.(*redis.Store); ok {
		switch st := r.Stats(); {
		case !st.Up:
			check.Detail = "degraded: Redis does not answer; rankings use local copies, events wait in the log"
		case st.Behind:
			check.Detail = "degraded: Redis is being brought up to date from the log"
		default:
			check.Detail = "redis"
		}
	}
	return check
}
