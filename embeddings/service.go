package embeddings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"relish/embeddings/vectortable"
	"relish/ranker"
)

// Errors of the service. Fetch and Lookup never fail: a missing vector is nil.
var (
	// ErrClosed: the service is closed.
	ErrClosed = errors.New("embeddings service is closed")
	// ErrNotEncoded: some texts have no vector, because the encoder failed on them.
	ErrNotEncoded = errors.New("texts could not be encoded")

	errGivenUp  = errors.New("no caller waits for the text any more")
	errNoTokens = errors.New("the text has no tokens")
)

const (
	defaultCacheBytes = 256 << 20
	defaultQueueBytes = 64 << 20
	// entryOverhead is what ristretto keeps for each entry besides the vector, in bytes: the slice
	// header and entry in its store, key and cost in its policy, map overhead, ten frequency
	// counters.
	entryOverhead = 190
	// getBuffer is how many reads ristretto collects before it counts them. It allocates a buffer
	// each time, so with a small one a lookup of 1,000 cached items would cost many allocations.
	getBuffer = 4096
)

// Options configure a service. With the zero value, vectors are kept in memory only.
type Options struct {
	// Dir is the folder of the vector table, created if absent. "" means no table.
	Dir string
	// ReadOnly reads the table while another process writes to it. New vectors stay in memory.
	ReadOnly bool
	// Shared is asked before the encoder, and receives what the encoder computes. nil means none.
	Shared SharedCache
	// CacheBytes bounds the vectors in memory, overhead included. 0 means 256 MiB.
	CacheBytes int64
	// QueueBytes bounds the memory of the texts that requests wait for, and of those that wait in
	// the background. 0 means 64 MiB each.
	QueueBytes int64
	// MaxFresh bounds the texts of one Fetch that it waits for. Further ones of the catalogue are
	// encoded in the background, others not at all. 0 means no bound.
	MaxFresh int
	// Log is slog.Default if nil.
	Log *slog.Logger
}

// Service returns text vectors: from the cache, the table, the shared cache or the encoder. All
// methods are safe for concurrent use. A text's vector has the same bits wherever it comes from,
// because it is rounded to the table's float16 once, when it is encoded.
type Service struct {
	model    Model
	log      *slog.Logger
	recent   recentVectors // asked before cache; it has vectors of cache, or that were there
	cache    *ristretto.Cache[uint64, []float32]
	table    *vectortable.Table // nil: memory only
	writable bool               // the table takes new vectors
	// tables are all tables that vectors are read from: table, and those that ImportFrom opened.
	tables []*vectortable.Table
	shared SharedCache // nil: none
	// maxFresh bounds the texts that one Fetch waits for; 0: no bound.
	maxFresh int
	queue    *queue

	// closeLock is held for reading while cache and tables are used, so that Close can end them.
	// ImportFrom adds a table under the lock for writing.
	closeLock sync.RWMutex
	closed    bool

	ctx       context.Context // of the encoder's runs
	stop      context.CancelFunc
	workers   sync.WaitGroup
	closeOnce sync.Once

	count counters
}

type counters struct {
	hits, tableHits, sharedHits, misses atomic.Uint64 // lookups of items
	encodes, failed, runs, padded, real atomic.Uint64 // padded and real count tokens
	setsLost                            atomic.Uint64 // vectors
	deferred                            atomic.Uint64 // texts
}

var _ ranker.Vectors = (*Service)(nil)

// New opens the vector table of the model's digest and starts the workers. The caller must Close
// the service. The model stays the caller's and must live until then.
func New(model Model, opt Options) (*Service, error) {
	if model == nil || model.Dim() < 1 {
		return nil, errors.New("embeddings need a model whose vectors have at least one component")
	}
	if opt.CacheBytes < 0 || opt.QueueBytes < 0 || opt.MaxFresh < 0 {
		return nil, fmt.Errorf("CacheBytes %d, QueueBytes %d and MaxFresh %d must not be negative",
			opt.CacheBytes, opt.QueueBytes, opt.MaxFresh)
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = defaultCacheBytes
	}
	if opt.QueueBytes == 0 {
		opt.QueueBytes = defaultQueueBytes
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	s := &Service{
		model: model, log: opt.Log, shared: opt.Shared, queue: newQueue(model, opt.QueueBytes),
	}
	var err error
	if opt.Dir != "" {
		tableOpt := vectortable.Options{ReadOnly: opt.ReadOnly, Log: opt.Log}
		s.table, err = vectortable.Open(opt.Dir, model.Digest(), model.Dim(), tableOpt)
		if err != nil {
			return nil, err
		}
		s.writable = !opt.ReadOnly
		s.tables = append(s.tables, s.table)
	}
	s.recent = newRecentVectors(opt.CacheBytes / recentShare / s.vectorCost())
	s.cache, err = ristretto.NewCache(&ristretto.Config[uint64, []float32]{
		NumCounters:        max(10*opt.CacheBytes/s.vectorCost(), 100),
		MaxCost:            opt.CacheBytes - int64(len(s.recent.slots))*s.vectorCost(),
		BufferItems:        getBuffer,
		IgnoreInternalCost: true, // vectorCost includes it
		KeyToHash:          func(key uint64) (uint64, uint64) { return key, 0 },
	})
	if err != nil {
		if s.table != nil {
			err = errors.Join(err, s.table.Close())
		}
		return nil, fmt.Errorf("create the vector cache: %w", err)
	}
	s.maxFresh = opt.MaxFresh
	s.ctx, s.stop = context.WithCancel(context.Background())
	// There are at least as many workers as cores. On a device that runs one batch at a time, the
	// other workers tokenize.
	for range max(model.Parallel(), runtime.GOMAXPROCS(0)) {
		s.workers.Go(s.worker)
	}
	return s, nil
}

// vectorCost is the memory of one cached vector, in bytes.
func (s *Service) vectorCost() int64 { return int64(4*s.model.Dim() + entryOverhead) }

// Dim is the number of components of a vector.
func (s *Service) Dim() int { return s.model.Dim() }

// Digest identifies the encoder: a SHA-256 in hexadecimal.
func (s *Service) Digest() string { return s.model.Digest() }

// Flush returns once every item vector computed so far is durable in the table, or with the reason
// why one is not. It returns ErrClosed after Close. Without a table it does nothing.
func (s *Service) Flush() error {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if !s.writable {
		return nil
	}
	return s.table.Sync()
}

// Drain returns once no text waits to be encoded, the background included, or with ctx's error.
func (s *Service) Drain(ctx context.Context) error {
	select {
	case <-s.queue.drained():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close drops the texts that wait, lets running batches finish or cancels them when ctx ends, and
// makes the table durable. Waiting callers return with the vectors that they have. Later lookups
// find nothing.
func (s *Service) Close(ctx context.Context) (err error) {
	s.closeOnce.Do(func() {
		s.queue.shutDown()
		unhook := context.AfterFunc(ctx, s.stop)
		s.workers.Wait()
		unhook()
		s.stop()
		s.closeLock.Lock()
		defer s.closeLock.Unlock()
		s.closed = true
		s.cache.Close()
		for _, t := range s.tables {
			err = errors.Join(err, t.Close())
		}
	})
	return err
}

// Stats counts what has happened since New, and gives the present state of queue, cache and table.
type Stats struct {
	// Lookups of items with a text, by where the vector was found.
	Hits, TableHits, Misses uint64
	SharedHits              uint64 // texts whose vector came from the shared cache
	Encodes, Failed         uint64 // texts that were encoded, or could not be
	Runs                    uint64 // runs of the encoder
	PaddedTokens            uint64 // tokens computed, padding included
	RealTokens              uint64 // tokens of texts
	Abandoned               uint64 // texts whose callers gave up before they were encoded
	Dropped                 uint64 // texts refused because a queue was full
	Deferred                uint64 // texts above MaxFresh, which no request waited for
	CacheSetsLost           uint64 // vectors that the cache was too busy to take

	Queued     int // texts waiting or running, the background included
	Background int // texts of these that wait without a caller
	CacheBytes int64
	CacheLimit int64
	Table      vectortable.Stats
}

// Plus returns the sum of two services' figures. The table's are those of s.
func (s Stats) Plus(o Stats) Stats {
	s.Hits += o.Hits
	s.TableHits += o.TableHits
	s.Misses += o.Misses
	s.SharedHits += o.SharedHits
	s.Encodes += o.Encodes
	s.Failed += o.Failed
	s.Runs += o.Runs
	s.PaddedTokens += o.PaddedTokens
	s.RealTokens += o.RealTokens
	s.Abandoned += o.Abandoned
	s.Dropped += o.Dropped
	s.Deferred += o.Deferred
	s.CacheSetsLost += o.CacheSetsLost
	s.Queued += o.Queued
	s.Background += o.Background
	s.CacheBytes += o.CacheBytes
	s.CacheLimit += o.CacheLimit
	return s
}

// Stats returns the current figures.
func (s *Service) Stats() Stats {
	c := &s.count
	st := Stats{
		Hits: c.hits.Load(), TableHits: c.tableHits.Load(), Misses: c.misses.Load(),
		SharedHits: c.sharedHits.Load(), Encodes: c.encodes.Load(), Failed: c.failed.Load(),
		Runs: c.runs.Load(), PaddedTokens: c.padded.Load(), RealTokens: c.real.Load(),
		CacheSetsLost: c.setsLost.Load(), Deferred: c.deferred.Load(),
	}
	q := s.queue
	q.mu.Lock()
	background := &q.lists[priorityBackground]
	st.Background = background.untokenized.Len() + background.waiting
	st.Abandoned, st.Dropped, st.Queued = q.abandoned, q.dropped, len(q.jobs)
	q.mu.Unlock()
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if !s.closed {
		st.CacheLimit = s.cache.MaxCost()
		st.CacheBytes = st.CacheLimit - s.cache.RemainingCost()
	}
	if s.table != nil {
		st.Table = s.table.Stats()
	}
	return st
}
