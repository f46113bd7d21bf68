package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/viterin/vek/vek32"
	ort "github.com/yalue/onnxruntime_go"
)

// defaultRunTimeout is more than a full batch of a large model takes on a slow machine.
const defaultRunTimeout = time.Minute

// nativeSession is a session of the runtime.
type nativeSession interface {
	RunWithOptions(inputs, outputs []ort.Value, options *ort.RunOptions) error
	Destroy() error
}

// openFunc opens a session of an encoder on a device.
type openFunc func(e *Encoder, d device) (nativeSession, error)

// openSession opens a session of the runtime.
func openSession(e *Encoder, d device) (nativeSession, error) {
	so, err := newSessionOptions(d, 1, &e.opt)
	if err != nil {
		return nil, err
	}
	defer so.Destroy()
	return ort.NewDynamicAdvancedSessionWithONNXData(
		e.files.Model, e.inputs, []string{e.output}, so)
}

// sessionPool has the sessions of an encoder on one device. They share one native session, which
// runs them at the same time: each native session has a copy of all weights. The pool is safe for
// concurrent use.
type sessionPool struct {
	device      device
	native      nativeSession
	size        int
	batchTokens int
	maxTokens   int  // of a text
	oneByOne    bool // each run of the model has one text
	mixes       bool // a run may have texts of several buckets; see findMixes

	idle      chan *session
	closed    chan struct{}
	closeOnce sync.Once
	unfreed   atomic.Int32   // sessions that are not freed yet; the last one frees native
	open      sync.WaitGroup // the same, to wait for
}

// Padded tokens of one run. On a CPU, a quantized model gains nothing from larger batches, and
// loses once the batch exceeds the cache. An fp32 model gains up to about twice that size. A GPU
// needs large batches to be busy.
const (
	batchTokensInt8 = 256
	batchTokensFP32 = 512
	batchTokensCUDA = 16384
)

// openPool opens the sessions on a device and tries one.
func (e *Encoder) openPool(ctx context.Context, d device) (*sessionPool, error) {
	p := &sessionPool{
		device: d, size: e.opt.Sessions, maxTokens: e.maxTokens, closed: make(chan struct{}),
	}
	// A model's own pooling is followed by products with one row per text, for which a batch of one
	// may take another kernel.
	p.oneByOne = e.pooled && !d.cuda || e.perBatch
	switch {
	case p.oneByOne:
		p.batchTokens = 1
	case d.cuda:
		p.batchTokens = batchTokensCUDA
	case e.isQuantized:
		p.batchTokens = batchTokensInt8
	default:
		p.batchTokens = batchTokensFP32
	}
	if p.size == 0 && d.cuda {
		p.size = 1
	} else if p.size == 0 {
		p.size = runtime.GOMAXPROCS(0)
	}
	var err error
	if p.native, err = e.opt.open(e, d); err != nil {
		return nil, err
	}
	openSessions.Add(1)
	p.idle = make(chan *session, p.size)
	p.unfreed.Store(int32(p.size))
	p.open.Add(p.size)
	for range p.size {
		p.idle <- &session{encoder: e, pool: p}
	}
	if err := e.findMixes(ctx, p); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// run encodes a batch with the next idle session.
func (p *sessionPool) run(ctx context.Context, batch [][]int32, out [][]float32) error {
	select {
	case s := <-p.idle:
		defer p.put(s)
		return s.run(ctx, batch, out)
	case <-p.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// put makes a session idle again, or frees it if the pool is closed.
func (p *sessionPool) put(s *session) {
	p.idle <- s
	select {
	case <-p.closed:
		p.freeIdle()
	default:
	}
}

// close frees each session as soon as it is idle. Later runs return ErrClosed.
func (p *sessionPool) close() {
	p.closeOnce.Do(func() { close(p.closed) })
	p.freeIdle()
}

// wait waits until all sessions are freed.
func (p *sessionPool) wait() { p.open.Wait() }

func (p *sessionPool) freeIdle() {
	for {
		select {
		case <-p.idle:
			if p.unfreed.Add(-1) == 0 {
				_ = p.native.Destroy()
				openSessions.Add(-1)
			}
			p.open.Done()
		default:
			return
		}
	}
}

// openDevice opens the sessions, on the GPU if that works.
func (e *Encoder) openDevice(ctx context.Context, rt *Runtime, d device) error {
	if d.cuda {
		err := rt.checkCUDA()
		var sessions *sessionPool
		if err == nil {
			sessions, err = e.openPool(ctx, d)
		}
		if err == nil {
			e.sessions.Store(sessions)
			return nil
		}
		if d.explicit {
			reason := "no GPU: " + strings.TrimSpace(err.Error())
			e.fallbackReason.Store(&reason)
		}
	}
	sessions, err := e.openPool(ctx, device{})
	e.sessions.Store(sessions)
	settings := *e.files
	settings.Model, settings.Tokenizer = nil, nil // only leaveFailedGPU reads them again
	e.files = &settings
	return err
}

// leaveFailedGPU moves the encoder to the CPU if a run has failed because the GPU does not work any
// more, and returns the sessions to try again with. failed are the sessions of the run and cause is
// its error, which is returned if there is no reason to try again.
func (e *Encoder) leaveFailedGPU(
	ctx context.Context, failed *sessionPool, cause error,
) (*sessionPool, error) {
	e.moving.Lock()
	defer e.moving.Unlock()
	switch now := e.sessions.Load(); {
	case e.closed:
		return nil, ErrClosed
	case now != failed:
		return now, nil // another run has moved the encoder meanwhile
	case !failed.device.cuda || ctx.Err() != nil:
		return nil, cause
	}
	if _, err := e.try(ctx, failed); err == nil || ctx.Err() != nil {
		return nil, cause // the fault is the batch's, or time is up
	}
	//nolint:contextcheck // the sessions serve all later requests, too
	sessions, err := e.openPool(context.Background(), device{})
	if err != nil {
		return nil, errors.Join(cause, fmt.Errorf("loading the encoder on the CPU: %w", err))
	}
	reason := "the GPU failed: " + strings.TrimSpace(cause.Error())
	e.fallbackReason.Store(&reason)
	e.sessions.Store(sessions)
	e.retired = failed
	failed.close()
	if e.opt.OnFallback != nil {
		e.opt.OnFallback(reason)
	}
	return sessions, nil
}

// tryTexts are texts that an encoder must give different vectors. They have different lengths.
var tryTexts = []string{
	"a quiet farm",
	"Replacement battery for a handheld, 1987 (2nd edition), with charger & cable",
	"zombie",
	"Les sables blancs de l'île",
}

// maxTryCosine is the cosine from which two vectors count as the same.
const maxTryCosine = 0.9999

// try encodes tryTexts, and returns an error if the vectors are not finite or all the same: the
// model or its device is damaged.
func (e *Encoder) try(ctx context.Context, p *sessionPool) (vectors [][]float32, err error) {
	batch := make([][]int32, len(tryTexts))
	vectors = make([][]float32, len(tryTexts))
	for i, text := range tryTexts {
		batch[i], vectors[i] = e.Tokenize(nil, text), make([]float32, e.dim)
		if len(batch[i]) == 0 {
			return nil, fmt.Errorf("the tokenizer finds no token in %q: use the tokenizer of the "+
				"model", text)
		}
	}
	if err := p.run(ctx, batch, vectors); err != nil {
		return nil, fmt.Errorf("trying the model on %d texts: %w", len(tryTexts), err)
	}
	for _, v := range vectors[1:] {
		if e.dim == 1 || vek32.Dot(vectors[0], v) < maxTryCosine {
			return vectors, nil
		}
	}
	return nil, errors.New("the model gives all texts the same vector: it is damaged or is no " +
		"text encoder")
}

// findMixes tries the pool and sets mixes: on a CPU, texts of any lengths share a run if padding
// changes no bit of their vectors. That depends on how the runtime sums up on this processor. With
// AVX2 or AVX-512, sums over more padding give the same bits.
func (e *Encoder) findMixes(ctx context.Context, p *sessionPool) error {
	alone, err := e.try(ctx, p)
	if err != nil || p.device.cuda || p.oneByOne {
		return err
	}
	p.mixes = true
	padded, err := e.try(ctx, p)
	p.mixes = slices.EqualFunc(alone, padded, slices.Equal)
	return err
}
