package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/features/redis"
	"relish/internal/redisconn"
	"relish/ranker"
	"relish/ranker/bundle"
)

// loadBatch is how many events share one fsync.
const loadBatch = 2000

// LoadCounts are the outcomes of loaded events.
type LoadCounts struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   int `json:"rejected"`
}

// Total is the number of events.
func (c LoadCounts) Total() int { return c.Accepted + c.Duplicates + c.Rejected }

// Loader brings many events into a store, in batches. It is not safe for concurrent use.
type Loader struct {
	// Sink takes the events. Required.
	Sink EventSink
	// Rejected is called for each event that is not accepted, with the line that Add gave it. An
	// error ends the loading. Required.
	Rejected func(line int, reason *ranker.EventError) error
	// Progress is called after each batch with the number of events so far. It may be nil.
	Progress func(done int)
	// Stored is called for each event that is in the sink, now or already before. It may be nil.
	Stored func(e *ranker.Event)

	Counts LoadCounts
	batch  []ranker.Event
	lines  []int
}

// Add loads one event. It becomes durable with its batch; call Flush after the last.
func (l *Loader) Add(ctx context.Context, line int, e ranker.Event) error {
	l.batch, l.lines = append(l.batch, e), append(l.lines, line)
	if len(l.batch) < loadBatch {
		return nil
	}
	return l.Flush(ctx)
}

// Flush makes the events added so far durable.
func (l *Loader) Flush(ctx context.Context) error {
	if len(l.batch) == 0 {
		return nil
	}
	events := slices.Clone(l.batch) // the sink owns the batch
	outcomes, err := l.Sink.Append(ctx, l.batch)
	if err != nil {
		return err
	}
	for i, o := range outcomes {
		switch {
		case o.Err != nil:
			if err := l.reject(l.lines[i], o.Err); err != nil {
				return err
			}
		case o.Duplicate:
			l.Counts.Duplicates++
		default:
			l.Counts.Accepted++
		}
		if o.Err == nil && l.Stored != nil {
			l.Stored(&events[i])
		}
	}
	l.batch, l.lines = l.batch[:0], l.lines[:0]
	if l.Progress != nil {
		l.Progress(l.Counts.Total())
	}
	return nil
}

func (l *Loader) reject(line int, reason *ranker.EventError) error {
	l.Counts.Rejected++
	return l.Rejected(line, reason)
}

// Waits of FlushStore.
const (
	// flushTimeout is how long it waits for Redis while Redis makes no progress.
	flushTimeout = 10 * time.Second
	// flushStep is the time between two looks at what Redis has.
	flushStep = time.Second
)

// FlushStore waits until the store has everything that is in the event log. It gives up when Redis
// has taken nothing for 10 seconds, and at the next second if Redis refuses what the configuration
// says. The error has the reason. The events are safe in the log then.
func FlushStore(ctx context.Context, store Store) error {
	lag, waited := ^uint64(0), time.Duration(0)
	for {
		flushing, cancel := context.WithTimeout(ctx, flushStep)
		err := store.Flush(flushing)
		cancel()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		shared, ok := store.(*redis.Store)
		if !ok {
			return err
		}
		stats := shared.Stats()
		if waited += flushStep; stats.Lag < lag {
			lag, waited = stats.Lag, 0
		}
		refused := new(redisconn.ConfigurationError)
		if waited < flushTimeout && !errors.As(stats.LastError, &refused) {
			continue
		}
		reason := "Redis takes none"
		if stats.LastError != nil {
			reason = "Redis fails: " + stats.LastError.Error()
		}
		return fmt.Errorf("the last events (%d) are only in the event log, because %s. They are "+
			"safe there, and relish serve sends them when Redis takes them", stats.Lag, reason)
	}
}

// EncodeAll encodes the text of every item that has no vector, by the base encoder and by the
// fine-tuned encoder of the active bundle, and returns how many vectors it made. progress is called
// with the name of the encoder and the number of items so far; it may be nil. Without a text
// encoder it does nothing.
func (e *Engine) EncodeAll(
	ctx context.Context, bundles string, progress func(encoder string, done int),
) (encoded int, err error) {
	if e.Vectors == nil {
		return 0, nil
	}
	if encoded, err = e.encodeWith(ctx, e.Vectors, "the text encoder", progress); err != nil {
		return encoded, err
	}
	version, err := bundle.Active(bundles)
	if err != nil || version == ranker.PriorVersion {
		return encoded, err
	}
	dir := filepath.Join(bundles, version)
	manifest, err := bundle.ReadManifest(dir)
	if err != nil || !manifest.Encoder.FineTuned {
		return encoded, err
	}
	vectors, err := finetuned.Open(ctx, dir, manifest.Encoder, e.finetuned)
	if err != nil {
		return encoded, fmt.Errorf("bundle %s: %w", version, err)
	}
	n, err := e.encodeWith(ctx, vectors.Service, "the active bundle's encoder", progress)
	return encoded + n, errors.Join(err, vectors.Close(ctx))
}

func (e *Engine) encodeWith(
	ctx context.Context, service *embeddings.Service, name string, progress func(string, int),
) (encoded int, err error) {
	err = service.EncodeAll(ctx, e.Store.Items(ctx), func(done, n int) {
		encoded = n
		if progress != nil && n > 0 {
			progress(name, done)
		}
	})
	return encoded, err
}
