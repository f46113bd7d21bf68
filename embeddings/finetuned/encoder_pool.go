package finetuned

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"relish/embeddings"
	"relish/embeddings/vectortable"
	"relish/ranker"
	"relish/ranker/bundle"
)

// EncoderPool gives a server the vectors of the fine-tuned encoders of its bundles. Bundles with
// the same encoder share one embeddings.Service: the first one opens it, and it is closed after the
// last one has released it.
//
// An encoder has the vectors that its bundles bring. As soon as it is open, the pool encodes the
// catalogue's texts that have no vector yet. It does so in a goroutine per encoder, which Close
// waits for. It does the same for the server's own encoder, see EncodeBase.
//
// It implements bundle.Encoders and is safe for concurrent use.
type EncoderPool struct {
	opt       Options
	base      *embeddings.Catalogue
	catalogue embeddings.Items
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
	*embeddings.Catalogue
	pool   *EncoderPool
	digest string
	users  int           // guarded by EncoderPool.mu
	closed chan struct{} // closed when the encoder is
}

// closeTimeout bounds how long closing the vectors of one encoder may take.
const closeTimeout = 15 * time.Second

// NewEncoderPool returns an empty pool. base are the vectors of the server's own encoder, which the
// pool does not close. Each encoder encodes the items of the catalogue, which is walked from the
// start each time. The caller closes the pool.
func NewEncoderPool(
	opt Options, base *embeddings.Service, catalogue embeddings.Items,
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
	p.base = embeddings.NewCatalogue(base, catalogue, "the text encoder", p.log)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// EncodeBase counts which texts of the catalogue have a vector of the server's own encoder, and
// has the others encoded in the background. It is called at most once, before Close.
func (p *EncoderPool) EncodeBase(ctx context.Context) {
	p.measure(ctx, p.base)
	p.work.Go(func() { p.base.Encode(p.ctx, p.notify) })
}

// BaseWaiting implements bundle.Encoders.
func (p *EncoderPool) BaseWaiting() string { return p.base.Waiting() }

// measure counts the texts that have vectors. Without the count, the encoder counts as one whose
// texts are not encoded.
func (p *EncoderPool) measure(ctx context.Context, c *embeddings.Catalogue) {
	if err := c.Measure(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("cannot count the texts of the catalogue that have vectors", "error", err)
	}
}

// notify tells Changed.
func (p *EncoderPool) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Acquire implements bundle.Encoders. After Close it returns embeddings.ErrClosed.
func (p *EncoderPool) Acquire(
	ctx context.Context, dir string, m *bundle.Manifest,
) (bundle.EncoderVectors, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	digest := m.Encoder.Digest
	e, closing := p.acquireOpen(digest)
	if e != nil {
		e.ImportBundled(dir)
		if e.Waiting() != "" {
			p.measure(ctx, e.Catalogue)
		}
		return e, nil
	}
	if closing != nil {
		<-closing.closed // its vector table is locked until then
	}
	vectors, err := Open(ctx, dir, m.Encoder, p.opt)
	if err != nil {
		return nil, err
	}
	e = &pooledEncoder{
		Vectors: vectors,
		Catalogue: embeddings.NewCatalogue(vectors.Service, p.catalogue, "its fine-tuned encoder",
			p.log),
		pool:   p,
		digest: digest,
		users:  1,
		closed: make(chan struct{}),
	}
	p.measure(ctx, e.Catalogue)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.work.Go(func() { p.closeEncoder(e) }) //nolint:contextcheck // it outlives the call
		return nil, embeddings.ErrClosed
	}
	p.open[digest] = e
	p.work.Go(func() { e.Encode(p.ctx, p.notify) })
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
			"encoder", e.digest, "error", err)
	}
}

// Changed implements bundle.Encoders.
func (p *EncoderPool) Changed() <-chan struct{} { return p.changed }

// Enqueue has every open encoder encode new or changed items in the background.
func (p *EncoderPool) Enqueue(items []*ranker.ItemInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.open {
		e.Enqueue(items)
	}
}

// Compact removes the stored vectors of texts that the catalogue no longer has, for the server's
// own encoder and every open one. It returns their number.
func (p *EncoderPool) Compact(ctx context.Context) (dropped int, err error) {
	catalogues := []*embeddings.Catalogue{p.base}
	p.mu.Lock()
	for _, e := range p.open {
		catalogues = append(catalogues, e.Catalogue)
	}
	p.mu.Unlock()
	var errs []error
	for _, c := range catalogues {
		n, err := c.Compact(ctx)
		if err != nil && !errors.Is(err, vectortable.ErrClosed) { // its last bundle has gone
			errs = append(errs, err)
		}
		dropped += n
	}
	return dropped, errors.Join(errs...)
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

// Failing returns why one of the open encoders fails on every text, nil if none does.
func (p *EncoderPool) Failing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for digest, e := range p.open {
		if err := e.Failing(); err != nil {
			return fmt.Errorf("fine-tuned encoder %.12s: %w", digest, err)
		}
	}
	return nil
}

// FallbackReason returns why one of the open encoders runs on the CPU although a GPU was asked for,
// "" if none does.
func (p *EncoderPool) FallbackReason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for digest, e := range p.open {
		if reason := e.encoder.FallbackReason(); reason != "" {
			return fmt.Sprintf("fine-tuned encoder %.12s: %s", digest, reason)
		}
	}
	return ""
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
