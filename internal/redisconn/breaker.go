package redisconn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The breaker opens after this many failures in a row, and then asks every probeEvery whether the server
// is back. No request is ever the probe.
const (
	failureThreshold = 3
	probeEvery       = 200 * time.Millisecond
	probeTimeout     = 200 * time.Millisecond
)

// breaker knows whether the server answers. Its zero value is closed: up.
type breaker struct {
	failuresInARow atomic.Int32
	isOpen         atomic.Bool
	opened         atomic.Int64 // how often
	wake           chan struct{}
	stop           context.CancelFunc
	done           sync.WaitGroup
}

// Up reports whether the server is worth asking.
func (b *breaker) Up() bool { return !b.isOpen.Load() }

// Opened returns how often the server was found to be away.
func (b *breaker) Opened() int64 { return b.opened.Load() }

// Report tells the breaker a command's outcome. A caller that gave up for reasons of its own reports
// nothing.
func (b *breaker) Report(err error) {
	if err == nil || errors.Is(err, redis.Nil) {
		b.failuresInARow.Store(0)
		return
	}
	if b.failuresInARow.Add(1) >= failureThreshold && b.isOpen.CompareAndSwap(false, true) {
		b.opened.Add(1)
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

func (b *breaker) start(ping func(context.Context) error) {
	b.wake = make(chan struct{}, 1)
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.done.Go(func() { b.probe(ctx, ping) })
}

func (b *breaker) stopProbing() {
	b.stop()
	b.done.Wait()
}

// probe waits for the breaker to open and pings until it may close.
func (b *breaker) probe(ctx context.Context, ping func(context.Context) error) {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		for b.isOpen.Load() {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			pctx, cancel := context.WithTimeout(ctx, probeTimeout)
			err := ping(pctx)
			cancel()
			if err == nil {
				b.failuresInARow.Store(0)
				b.isOpen.Store(false)
			}
		}
	}
}

func runID(ctx context.Context, c redis.Cmdable) (string, error) {
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if id, ok := strings.CutPrefix(line, "run_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", errors.New("redis: INFO names no run_id")
}

func joinSorted(ids <-chan string) string {
	var all []string
	for id := range ids {
		all = append(all, id)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
