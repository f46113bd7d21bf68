package finetuned

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"relish/embeddings"
	"relish/ranker"
	"relish/ranker/bundle"
)

// EncoderPool gives a server the vectors of the fine-tuned encoders of its bundles. Bundles with
// the same encoder share one embeddings.Service: the first one opens it, and it is closed after the
// last one has released it.
//
// As soon as an encoder is open, the pool encodes the catalogue's texts that have no vector yet. It
// does so in a goroutine per encoder, which Close waits for.
//
// It implements bundle.Encoders and is safe for concurrent use.
type EncoderPool struct {
	opt       Options
	catalogue func(context.Context) iter.Seq2[*ranker.ItemInfo, error]
	log       *slog.Logger
	changed   chan struct{}
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	work      sync.WaitGroup // goroutines that encode or close

	opening sync.Mutex // held while an encoder is loaded, which takes a while; locked before mu

	mu          sync.Mutex
	open        map[string]*pooledEncoder // by digest
	closing     map[string]*pooledEncoder // by digest: their vector tables are still locked
	closedStats embeddings.Stats          // of the encoders that are closed
	closed      bool
}

var _ bundle.Encoders = (*EncoderPool)(nil)

// pooledEncoder is one encoder of the pool. It implements bundle.EncoderVectors for all its users.
type pooledEncoder struct {
	*Vectors
	pool   *EncoderPool
	digest string
	users  int           // guarded by EncoderPool.mu
	closed chan struct{} // closed when the encoder is

	mu           sync.Mutex
	encoded      int // items of the catalogue that have been handled
	total        int // items of the catalogue, 0 before they were counted
	allEncoded   bool
	newlyEncoded int // texts that had no vector before
}

// closeTimeout bounds how long closing the vectors of one encoder may take.
const closeTimeout = 15 * time.Second

// NewEncoderPool returns an empty pool. Each encoder encodes the items of the catalogue, which is
// walked from the start each time. The caller closes the pool.
func NewEncoderPool(
	opt Options, catalogue func(context.Context) iter.Seq2[*ranker.ItemInfo, error],
) *EncoderPool {
	p := &EncoderPool{
		opt:       opt,
		catalogue: catalogue,
		log:       opt.Vectors.Log,
		changed:   make(chan struct{}, 1),
		open:      map[string]*pooledEncoder{},
		closing:   map[string]*pooledEncoder{},
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Acquire implements bundle.Encoders. After Close it returns embeddings.ErrClosed.
func (p *EncoderPool) Acquire(dir string, m *bundle.Manifest) (bundle.EncoderVectors, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	digest := m.Encoder.Digest
	e, closing := p.acquireOpen(digest)
	if e != nil {
		return e, nil
	}
	if closing != nil {
		<-closing.closed // its vector table is locked until then
	}
	vectors, err := Open(dir, m, p.opt)
	if err != nil {
		return nil, err
	}
	e = &pooledEncoder{
		Vectors: vectors,
		pool:    p,
		digest:  digest,
		users:   1,
		closed:  make(chan struct{}),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.work.Go(func() { p.closeEncoder(e) })
		return nil, embeddings.ErrClosed
	}
	p.open[digest] = e
	p.work.Go(func() { p.encodeCatalogue(e) })
	return e, nil
}

// acquireOpen adds a user to the encoder if it is open. Otherwise it returns the encoder that is
// being closed, if there is one with the digest.
func (p *EncoderPool) acquireOpen(digest string) (e, closing *pooledEncoder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e = p.open[digest]; e == nil {
		return nil, p.closing[digest]
	}
	e.users++
	return e, nil
}

// Release implements bundle.EncoderVectors. The last user's call has the encoder closed; it does
// not wait for that.
func (e *pooledEncoder) Release() {
	p := e.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.users--; e.users > 0 || p.closed {
		return
	}
	delete(p.open, e.digest)
	p.closing[e.digest] = e
	p.work.Go(func() {
		p.closeEncoder(e)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.closing, e.digest)
		p.closedStats = p.closedStats.Plus(e.Stats())
	})
}

func (p *EncoderPool) closeEncoder(e *pooledEncoder) {
	defer close(e.closed)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		p.log.Warn("closing the vectors of a fine-tuned encoder failed",
			"encoder", e.shortDigest(), "error", err)
	}
}

func (e *pooledEncoder) shortDigest() string { return e.digest[:min(12, len(e.digest))] }

// Waiting implements bundle.EncoderVectors. It may be called after Release.
func (e *pooledEncoder) Waiting() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.allEncoded:
		return ""
	case e.total == 0:
		return fmt.Sprintf("%d texts encoded by its fine-tuned encoder", e.encoded)
	}
	return fmt.Sprintf("%d of %d texts encoded by its fine-tuned encoder", e.encoded, e.total)
}

// Changed implements bundle.Encoders.
func (p *EncoderPool) Changed() <-chan struct{} { return p.changed }

// retryDelay is the pause before the catalogue is encoded again after an error.
const retryDelay = time.Second

// encodeCatalogue encodes the catalogue until all texts have vectors, or the encoder is closed.
func (p *EncoderPool) encodeCatalogue(e *pooledEncoder) {
	start := time.Now()
	for {
		err := p.tryEncodeCatalogue(e)
		switch {
		case p.ctx.Err() != nil || errors.Is(err, embeddings.ErrClosed):
			return
		case err == nil || errors.Is(err, embeddings.ErrNotEncoded):
			if err != nil {
				p.log.Warn("a fine-tuned encoder failed on some texts; they rank without vectors",
					"encoder", e.shortDigest(), "error", err)
			}
			e.mu.Lock()
			e.allEncoded = true
			encoded := e.newlyEncoded
			e.mu.Unlock()
			p.log.Info("a fine-tuned encoder has encoded all texts", "encoder", e.shortDigest(),
				"encoded", encoded, "took", time.Since(start).Round(time.Millisecond))
			select {
			case p.changed <- struct{}{}:
			default:
			}
			return
		}
		p.log.Warn("a fine-tuned encoder could not encode the catalogue; it tries again",
			"encoder", e.shortDigest(), "after", retryDelay, "error", err)
		select {
		case <-p.ctx.Done():
			return
		case <-e.closed:
			return
		case <-time.After(retryDelay):
		}
	}
}

func (p *EncoderPool) tryEncodeCatalogue(e *pooledEncoder) error {
	total, err := p.countItems()
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.total = total
	e.mu.Unlock()
	return e.EncodeAll(p.ctx, p.catalogue(p.ctx), func(handled, encoded int) {
		e.mu.Lock()
		e.encoded, e.newlyEncoded = handled, encoded
		e.mu.Unlock()
	})
}

func (p *EncoderPool) countItems() (n int, err error) {
	for _, err := range p.catalogue(p.ctx) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Enqueue has every open encoder encode new or changed items in the background.
func (p *EncoderPool) Enqueue(items []*ranker.ItemInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.open {
		e.Enqueue(items)
	}
}

// Digests returns the digests of the open encoders.
func (p *EncoderPool) Digests() (digests []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range p.open {
		digests = append(digests, d)
	}
	return digests
}

// Stats returns the sums over all encoders, including closed ones, so that no counter ever falls.
func (p *EncoderPool) Stats() embeddings.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.closedStats
	for _, encoders := range []map[string]*pooledEncoder{p.open, p.closing} {
		for _, e := range encoders {
			sum = sum.Plus(e.Stats())
		}
	}
	return sum
}

// Close ends the background work and closes all encoders; ctx bounds the time. Close the registry
// of bundles first: no Acquire and no ranking may be under way.
func (p *EncoderPool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	open := p.open
	p.open = nil
	p.mu.Unlock()
	p.cancel()
	var errs []error
	for _, e := range open {
		errs = append(errs, e.Close(ctx))
	}
	p.work.Wait()
	return errors.Join(errs...)
}
