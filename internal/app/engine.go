package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	sharedvectors "relish/embeddings/redis"
	"relish/features/external"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/internal/redisconn"
	"relish/ranker"
)

// EngineOptions say what an Engine opens. Store.Data, Config and Log are required.
type EngineOptions struct {
	Store   StoreOptions
	Encoder EncoderOptions
	Config  *config.Config
	Ingest  ingest.Options
	Limits  Limits // of the text vectors; the zero value bounds no ranking
	// EncodeLater leaves the texts of new items to EncodeAll. Otherwise they are encoded in the
	// background as they arrive.
	EncodeLater bool
	Log         *slog.Logger
}

// Engine is a locked data folder with everything that reads and writes it: the store, the external
// tables and the text vectors. One process at a time holds it. It is safe for concurrent use; Close
// is called once, after all use.
type Engine struct {
	Store    Store
	External *external.Syncer
	Vectors  *embeddings.Service // nil without a text encoder
	Redis    *redisconn.Conn     // nil if the state is embedded

	encoder   *onnx.Encoder // nil without a text encoder
	finetuned finetuned.Options
	pool      *finetuned.EncoderPool // encoders of the bundles in use; nil without a text encoder
	// labelling labels new and changed items; nil: they get no labels. It is set when the store is
	// open, which may give items to enqueue by then: with Redis, it applies its log meanwhile.
	labelling atomic.Pointer[labelling]
	unlock    func()
}

// lockData locks a data folder for writing. The error says what to do if it is in use.
func lockData(dir string) (unlock func(), err error) {
	unlock, err = ingest.Lock(dir)
	if errors.Is(err, ingest.ErrLocked) {
		err = fmt.Errorf("%w; stop that process, or use another folder with --data", err)
	}
	return unlock, err
}

// OpenEngine locks the data folder and opens the store, the external tables and the vectors. It
// fails if another process holds the folder; the error names that process. The caller closes the
// Engine.
func OpenEngine(ctx context.Context, opt EngineOptions) (_ *Engine, err error) {
	e := &Engine{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close(ctx))
		}
	}()
	if e.unlock, err = lockData(opt.Store.Data); err != nil {
		return nil, err
	}
	e.Redis, err = opt.Store.connect() //nolint:contextcheck // its goroutines live until Close
	if err != nil {
		return nil, err
	}
	opt.Config.State.Text = opt.Config.Text
	opt.Encoder.Data = opt.Store.Data
	if !opt.Encoder.NoText {
		if err := opt.Encoder.settleEncoder(); err != nil {
			return nil, err
		}
		if err := e.openVectors(ctx, opt); err != nil {
			return nil, err
		}
	}
	var onItems func([]*ranker.ItemInfo)
	if e.Vectors != nil && !opt.EncodeLater {
		onItems = e.enqueue
	}
	e.Store, err = openStore(opt, e.Redis, onItems) //nolint:contextcheck // lives until Close
	if err != nil {
		return nil, err
	}
	tables := tableRepository(opt.Store.Data, e.Redis, opt.Config)
	e.External, err = external.NewSyncer(opt.Store.Data, tables, e.Store, opt.Log)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// openVectors loads the text encoder and opens the vectors of the catalogue.
func (e *Engine) openVectors(ctx context.Context, opt EngineOptions) (err error) {
	if e.encoder, err = opt.Encoder.Load(ctx, opt.Log); err != nil {
		return err
	}
	vectors := embeddings.Options{
		Dir: finetunedFolder(opt.Store.Data), CacheBytes: opt.Encoder.CacheBytes,
		QueueBytes: opt.Limits.EncoderQueue, MaxFresh: opt.Limits.FreshTexts, Log: opt.Log,
	}
	e.finetuned, err = opt.Encoder.finetunedOptions(e.encoder, vectors, opt.Log)
	if err != nil {
		return err
	}
	vectors.Dir = filepath.Join(opt.Store.Data, "vectors")
	if e.Redis != nil {
		e.finetuned.Shared = func(digest string, dim int) embeddings.SharedCache {
			return sharedvectors.New(e.Redis, digest, dim, opt.Config.State.MaxAgeDuration())
		}
		vectors.Shared = e.finetuned.Shared(e.encoder.Digest(), e.encoder.Dim())
	}
	if e.Vectors, err = embeddings.New(e.encoder, vectors); err != nil {
		return err
	}
	e.pool = finetuned.NewEncoderPool(e.finetuned, e.Vectors,
		func(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error] {
			return e.Store.Items(ctx)
		})
	return nil
}

// Close releases everything in the reverse order of opening. It ignores the end of ctx, because the
// work is mostly over when that has ended. It waits at most 15 seconds for vectors that are being
// written.
func (e *Engine) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	var errs []error
	if e.pool != nil {
		errs = append(errs, e.pool.Close(ctx))
	}
	if e.Store != nil {
		errs = append(errs, e.Store.Close())
	}
	if e.Vectors != nil {
		errs = append(errs, e.Vectors.Close(ctx))
	}
	if e.encoder != nil {
		e.encoder.Close()
	}
	if e.Redis != nil {
		errs = append(errs, e.Redis.Close())
	}
	if e.unlock != nil {
		e.unlock()
	}
	return errors.Join(errs...)
}

// enqueue gives new and changed items to every encoder in use.
func (e *Engine) enqueue(items []*ranker.ItemInfo) {
	e.Vectors.Enqueue(items)
	e.pool.Enqueue(items)
	if l := e.labelling.Load(); l != nil {
		l.enqueue(items)
	}
}

// encoderDigest identifies a text encoder; it is empty without one.
func encoderDigest(encoder *onnx.Encoder) string {
	if encoder == nil {
		return ""
	}
	return encoder.Digest()
}

// encoderFailure returns why a text encoder fails on every text, nil if none does. There is a text
// encoder.
func (e *Engine) encoderFailure() error {
	return cmp.Or(e.Vectors.Failing(), e.pool.Failing())
}

// encoderFallback returns why a text encoder runs on the CPU although a GPU was asked for, "" if
// none does. There is a text encoder.
func (e *Engine) encoderFallback() string {
	return cmp.Or(e.encoder.FallbackReason(), e.pool.FallbackReason())
}

// rankerVectors returns the text vectors as the ranking pipeline takes them.
func (e *Engine) rankerVectors() ranker.Vectors { return RankerVectors(e.Vectors) }

// RankerVectors returns v as an interface, which is nil if v is nil. A nil pointer in the interface
// would look like vectors that are there.
func RankerVectors(v *embeddings.Service) ranker.Vectors {
	if v == nil {
		return nil
	}
	return v
}
