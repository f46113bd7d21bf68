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

// Errors of the service. Vectors and Lookup never fail: what is missing is nil.
var (
	ErrClosed = errors.New("embeddings service is closed")
	// ErrNotEncoded: some texts have no vector because the encoder failed on them.
	ErrNotEncoded = errors.New("texts could not be encoded")

	errGivenUp  = errors.New("no caller waits for the text any more")
	errNoTokens = errors.New("the text has no tokens")
)

const (
	defaultCacheBytes = 256 << 20
	defaultBackground = 100_000
	// entryOverhead is what ristretto keeps per entry besides the vector: the slice header and entry
	// in its store, the key and cost in its policy, map slack, and ten frequency counters.
	entryOverhead = 190
	// getBuffer is how many reads ristretto collects before it counts them. It allocates one buffer
	// for each, so a small one would cost a warm lookup of 1,000 items many allocations.
	getBuffer = 4096
)

// Options for New; the zero value is a service that keeps vectors in memory only.
type Options struct {
	// Dir is the folder of the vector table, made if absent; "" keeps vectors in memory only.
	Dir string
	// ReadOnly reads the table beside the process that writes it; new vectors stay in memory.
	ReadOnly bool
	// Shared is asked before the encoder, and given what the encoder made; nil: there is none.
	Shared SharedCache
	// CacheBytes bounds the float32 vectors held in memory, overhead included; 0 means 256 MiB.
	CacheBytes int64
	// BackgroundLimit bounds the texts that wait to be encoded without a caller; 0 means 100,000.
	BackgroundLimit int
	Log             *slog.Logger // nil means slog.Default
}

// Service gives text vectors: from the cache, the table or the encoder. All methods are safe for
// concurrent use. A text's vector has the same bits wherever it comes from, since it is rounded to
// the table's float16 once, when it is encoded.
type Service struct {
	model    Model
	log      *slog.Logger
	cache    *ristretto.Cache[uint64, []float32]
	table    *vectortable.Table // nil: memory only
	writable bool               // the table takes new vectors
	shared   SharedCache        // nil: none
	queue    *queue

	// closeLock is held for reading by whoever touches cache and table, so that Close can end both.
	closeLock sync.RWMutex
	closed    bool

	stop      context.CancelFunc // ends runs
	ctx       context.Context
	workers   sync.WaitGroup
	closeOnce sync.Once

	count counters
}

type counters struct {
	hits, tableHits, sharedHits, misses, encodes, failed, runs, padded, real atomic.Uint64
	setsLost                                                                 atomic.Uint64
}

var _ ranker.Vectors = (*Service)(nil)

// New opens the table of the model's digest and starts the workers. The caller must Close the
// service; the model stays the caller's and must live until then.
func New(model Model, opt Options) (*Service, error) {
	if model == nil || model.Dim() < 1 {
		return nil, errors.New("embeddings need a model whose vectors have at least one component")
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = defaultCacheBytes
	}
	if opt.BackgroundLimit == 0 {
		opt.BackgroundLimit = defaultBackground
	}
	if opt.CacheBytes < 0 || opt.BackgroundLimit < 0 {
		return nil, fmt.Errorf("cache bytes %d and background %d must not be negative", opt.CacheBytes, opt.BackgroundLimit)
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	s := &Service{model: model, log: opt.Log, shared: opt.Shared, queue: newQueue(model, opt.BackgroundLimit)}
	var err error
	if opt.Dir != "" {
		s.table, err = vectortable.Open(opt.Dir, model.Digest(), model.Dim(), vectortable.Options{ReadOnly: opt.ReadOnly, Log: opt.Log})
		if err != nil {
			return nil, err
		}
		s.writable = !opt.ReadOnly
	}
	s.cache, err = ristretto.NewCache(&ristretto.Config[uint64, []float32]{
		NumCounters:        max(10*opt.CacheBytes/s.vectorCost(), 100),
		MaxCost:            opt.CacheBytes,
		BufferItems:        getBuffer,
		IgnoreInternalCost: true, // cost counts it
		KeyToHash:          func(key uint64) (uint64, uint64) { return key, 0 },
	})
	if err != nil {
		if s.table != nil {
			err = errors.Join(err, s.table.Close())
		}
		return nil, fmt.Errorf("make the vector cache: %w", err)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	// As many workers as runs make sense at once, and on a device that runs one at a time the other
	// cores' workers tokenize.
	for range max(s.queue.parallel, runtime.GOMAXPROCS(0)) {
		s.workers.Go(s.worker)
	}
	return s, nil
}

// vectorCost is what one cached vector takes, in bytes.
func (s *Service) vectorCost() int64 { return int64(4*s.model.Dim() + entryOverhead) }

// Dim is the number of components of a vector.
func (s *Service) Dim() int { return s.model.Dim() }

// Digest identifies the encoder: hex SHA-256.
func (s *Service) Digest() string { return s.model.Digest() }

// Flush returns once every item vector computed so far is durable in the table, or with the reason
// why one is not; ErrClosed after Close. Without a table it does nothing.
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

// Drain returns once nothing waits to be encoded, the background included, or with ctx's error.
func (s *Service) Drain(ctx context.Context) error {
	select {
	case <-s.queue.drained():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Compact removes the table's rows whose text key live does not keep, and returns how many went.
// live is called from another goroutine.
func (s *Service) Compact(live func(key uint64) bool) (dropped int, err error) {
	if s.table == nil {
		return 0, nil
	}
	return s.table.Compact(live)
}

// Close drops what waits, lets running batches finish, or cancels them when ctx ends, and makes the
// table durable. Waiting callers return with what they have. Lookups after it find nothing.
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
		if s.table != nil {
			err = s.table.Close()
		}
	})
	return err
}

// Stats are figures since New, and the present state of queue, cache and table.
type Stats struct {
	Hits, TableHits, Misses uint64 // lookups of items with a text, by where the vector was
	SharedHits              uint64 // texts that need not be encoded, since the shared level had their vector
	Encodes, Failed         uint64 // texts
	Runs                    uint64 // encoder runs
	PaddedTokens            uint64 // tokens computed, padding included
	RealTokens              uint64 // tokens of texts
	Abandoned               uint64 // texts whose callers gave up before they were encoded
	Dropped                 uint64 // texts refused because a queue was full
	CacheSetsLost           uint64 // vectors that the cache had no time to take

	Queued     int // texts waiting or running, the background included
	Background int // of these, texts waiting that no caller waits for
	CacheBytes int64
	CacheLimit int64
	Table      vectortable.Stats
}

// Plus adds the figures of another service, but for its table's.
func (s Stats) Plus(o Stats) Stats {
	s.Hits, s.TableHits, s.Misses, s.SharedHits = s.Hits+o.Hits, s.TableHits+o.TableHits, s.Misses+o.Misses, s.SharedHits+o.SharedHits
	s.Encodes, s.Failed, s.Runs = s.Encodes+o.Encodes, s.Failed+o.Failed, s.Runs+o.Runs
	s.PaddedTokens, s.RealTokens = s.PaddedTokens+o.PaddedTokens, s.RealTokens+o.RealTokens
	s.Abandoned, s.Dropped, s.CacheSetsLost = s.Abandoned+o.Abandoned, s.Dropped+o.Dropped, s.CacheSetsLost+o.CacheSetsLost
	s.Queued, s.Background = s.Queued+o.Queued, s.Background+o.Background
	s.CacheBytes, s.CacheLimit = s.CacheBytes+o.CacheBytes, s.CacheLimit+o.CacheLimit
	return s
}

// Stats returns current figures.
func (s *Service) Stats() Stats {
	c := &s.count
	st := Stats{Hits: c.hits.Load(), TableHits: c.tableHits.Load(), Misses: c.misses.Load(),
		SharedHits: c.sharedHits.Load(), Encodes: c.encodes.Load(), Failed: c.failed.Load(), Runs: c.runs.Load(),
		PaddedTokens: c.padded.Load(), RealTokens: c.real.Load(), CacheSetsLost: c.setsLost.Load()}
	q := s.queue
	q.mu.Lock()
	bg := &q.lists[priorityBackground]
	st.Abandoned, st.Dropped, st.Queued, st.Background = q.abandoned, q.dropped, len(q.jobs), bg.untokenized.Len()+bg.waiting
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
