package redisconn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The breaker opens after failureThreshold failures in a row. Then it asks every probeEvery
// whether the server answers again. No request is ever used as the probe.
const (
	failureThreshold = 3
	probeEvery       = 200 * time.Millisecond
	probeTimeout     = 200 * time.Millisecond
)

// breaker is a circuit breaker: it is open while the server does not answer. Its zero value is
// closed.
type breaker struct {
	failuresInARow atomic.Int32
	isOpen         atomic.Bool
	opened         atomic.Int64
	lastError      atomic.Pointer[error] // of the newest failure; nil after a success
	wake           chan struct{}         // tells probe that the breaker has opened
	stop           context.CancelFunc
	done           sync.WaitGroup
}

// Up reports whether the server is worth asking: the breaker is closed.
func (b *breaker) Up() bool { return !b.isOpen.Load() }

// Opened returns how often the breaker has opened: the number of outages.
func (b *breaker) Opened() int64 { return b.opened.Load() }

// LastError returns why the newest command or probe failed, nil if it did not. It is a
// *ConfigurationError if repeating cannot help.
func (b *breaker) LastError() error {
	if err := b.lastError.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *breaker) noteError(err error) {
	err = Explain(err)
	b.lastError.Store(&err)
}

func (b *breaker) noteSuccess() {
	b.failuresInARow.Store(0)
	b.lastError.Store(nil)
}

// Report tells the breaker a command's outcome. redis.Nil is a success. A caller that was
// cancelled, or had too little time for the server to answer, reports nothing.
func (b *breaker) Report(err error) {
	if err == nil || errors.Is(err, redis.Nil) {
		b.noteSuccess()
		return
	}
	b.noteError(err)
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

// probe waits until the breaker opens. Then it pings the server until the breaker can close.
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
			pingCtx, cancel := context.WithTimeout(ctx, probeTimeout)
			err := ping(pingCtx)
			cancel()
			if err == nil {
				b.noteSuccess()
				b.isOpen.Store(false)
			} else if ctx.Err() == nil {
				b.noteError(err)
			}
		}
	}
}
