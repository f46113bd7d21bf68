package finetuned

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"relish/embeddings"
	"relish/ranker"
	"relish/ranker/bundle"
)

// EncoderPool gives a server the vectors of the bundles that it has loaded: one service for each encoder, however many bundles
// bring it, opened with the first and closed after the last request of the last. As soon as one is open it encodes,
// in the background, what texts of the catalogue have no vector yet. It implements bundle.Texts and is safe for concurrent use.
type EncoderPool struct {
	opt       Options
	catalogue func(context.Context) iter.Seq2[*ranker.ItemInfo, error]
	log       *slog.Logger
	changed   chan struct{}
	ctx       context.Context
	stop      context.CancelFunc
	work      sync.WaitGroup

	opening sync.Mutex // held while an encoder is loaded, which takes a while; before mu

	mu          sync.Mutex
	open        map[string]*pooledEncoder // by digest
	closing     map[string]*pooledEncoder // by digest: their tables are still locked
	closedStats embeddings.Stats          // what those counted that are closed
	closed      bool
}

// pooledEncoder is one encoder in use.
type pooledEncoder struct {
	*Vectors
	handles int           // models that hold it; guarded by Keeper.mu
	shut    chan struct{} // closed when all of it is

	mu          sync.Mutex
	done, known int // items seen to, and items of the catalogue as far as they were counted
	whole       bool
}

// handle is what one model holds. When nothing refers to it any more, the model's last request is answered.
type handle struct {
	*Vectors
	entry *pooledEncoder
}

// closeTimeout bounds how long closing one encoder's vectors may take.
const closeTimeout = 15 * time.Second

// NewEncoderPool returns a keeper whose encoders encode the items of the catalogue, walked from the start each time. The caller
// closes it.
func NewEncoderPool(opt Options, items func(context.Context) iter.Seq2[*ranker.ItemInfo, error]) *EncoderPool {
	k := &EncoderPool{opt: opt, catalogue: items, log: opt.Vectors.Log, changed: make(chan struct{}, 1), open: map[string]*pooledEncoder{}, closing: map[string]*pooledEncoder{}}
	if k.log == nil {
		k.log = slog.Default()
	}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k
}

// Open implements bundle.Texts.
func (k *EncoderPool) Open(dir string, m *bundle.Manifest) (ranker.Vectors, error) {
	k.opening.Lock()
	defer k.opening.Unlock()
	digest := m.Encoder.Digest
	h, before := k.hold(digest)
	if h != nil {
		return h, nil
	}
	if before != nil {
		<-before.shut
	}
	texts, err := Open(dir, m, k.opt)
	if err != nil {
		return nil, err
	}
	e := &pooledEncoder{Vectors: texts, shut: make(chan struct{})}
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		k.close(e)
		return nil, embeddings.ErrClosed
	}
	k.open[digest] = e
	k.work.Go(func() { k.fill(e, digest) })
	k.mu.Unlock()
	h, _ = k.hold(digest)
	return h, nil
}

// hold gives a handle on an encoder that is open, nil where it is not; before is the same encoder on its way out.
func (k *EncoderPool) hold(digest string) (h *handle, before *pooledEncoder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.open[digest]
	if e == nil {
		return nil, k.closing[digest]
	}
	e.handles++
	h = &handle{e.Vectors, e}
	runtime.AddCleanup(h, func(e *pooledEncoder) { k.release(e, digest) }, e)
	return h, nil
}

// release lets go of an encoder that no model holds any more.
func (k *EncoderPool) release(e *pooledEncoder, digest string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.handles--; e.handles > 0 || k.closed {
		return
	}
	delete(k.open, digest)
	k.closing[digest] = e
	k.work.Go(func() { // cleanups must not wait
		k.close(e)
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.closing, digest)
		k.closedStats = k.closedStats.Plus(e.Stats())
	})
}

func (k *EncoderPool) close(e *pooledEncoder) {
	defer close(e.shut)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		k.log.Warn("closing the vectors of a bundle's text encoder", "error", err)
	}
}

// Waiting implements bundle.Texts.
func (k *EncoderPool) Waiting(v ranker.Vectors) string {
	h, ok := v.(*handle)
	if !ok {
		return ""
	}
	e := h.entry
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.whole:
		return ""
	case e.known == 0:
		return fmt.Sprintf("%d texts encoded by its own encoder", e.done)
	}
	return fmt.Sprintf("%d of %d texts encoded by its own encoder", e.done, e.known)
}

// Changed implements bundle.Texts.
func (k *EncoderPool) Changed() <-chan struct{} { return k.changed }

// retryDelay is how long the keeper waits when the catalogue could not be read, or its vectors not be kept.
const retryDelay = time.Second

// fill encodes the catalogue by an encoder, until all of it has vectors.
func (k *EncoderPool) fill(e *pooledEncoder, digest string) {
	start := time.Now()
	for {
		encoded, err := k.encodeAll(e)
		switch {
		case k.ctx.Err() != nil || errors.Is(err, embeddings.ErrClosed):
			return
		case err == nil || errors.Is(err, embeddings.ErrNotEncoded):
			if err != nil {
				k.log.Warn("a bundle's text encoder failed on some texts, which rank without", "encoder", digest[:12], "reason", err)
			}
			e.mu.Lock()
			e.whole = true
			e.mu.Unlock()
			k.log.Info("the texts have vectors by a bundle's own encoder", "encoder", digest[:12], "encoded", encoded, "took", time.Since(start).Round(time.Millisecond))
			select {
			case k.changed <- struct{}{}:
			default:
			}
			return
		}
		k.log.Warn("a bundle's text encoder could not encode the catalogue; it is tried again", "encoder", digest[:12], "reason", err)
		select {
		case <-k.ctx.Done():
			return
		case <-time.After(retryDelay):
		}
	}
}

func (k *EncoderPool) encodeAll(e *pooledEncoder) (encoded int, err error) {
	known, err := k.count()
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	e.known = known
	e.mu.Unlock()
	err = e.EncodeAll(k.ctx, k.catalogue(k.ctx), func(done, n int) {
		e.mu.Lock()
		e.done, encoded = done, n
		e.mu.Unlock()
	})
	return encoded, err
}

// count is how many items there are.
func (k *EncoderPool) count() (n int, err error) {
	for _, err := range k.catalogue(k.ctx) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Enqueue has new or changed items encoded by every encoder in use.
func (k *EncoderPool) Enqueue(items []*ranker.ItemInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.open {
		e.Enqueue(items)
	}
}

// Digests names the encoders in use.
func (k *EncoderPool) Digests() (digests []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := range k.open {
		digests = append(digests, d)
	}
	return digests
}

// Stats returns the sum of all encoders' figures, of those too that are not in use any more: what counts never falls.
func (k *EncoderPool) Stats() embeddings.Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := k.closedStats
	for _, entries := range []map[string]*pooledEncoder{k.open, k.closing} {
		for _, e := range entries {
			sum = sum.Plus(e.Stats())
		}
	}
	return sum
}

// Close ends all work and closes all vectors, in the time that ctx leaves. No Open or ranking may be under way.
func (k *EncoderPool) Close(ctx context.Context) error {
	k.mu.Lock()
	k.closed = true
	open := k.open
	k.open = nil
	k.mu.Unlock()
	k.stop()
	var errs []error
	for _, e := range open {
		errs = append(errs, e.Close(ctx))
	}
	k.work.Wait()
	return errors.Join(errs...)
}
