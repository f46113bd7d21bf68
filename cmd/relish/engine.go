package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	vectors "relish/embeddings/redis"
	"relish/features/external"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/internal/config"
	"relish/internal/redisconn"
	"relish/ranker"
)

// engine is everything behind the HTTP edge: the store, the vectors, and what they were opened with.
type engine struct {
	conn    *redisconn.Conn // nil without --redis
	store   store
	tables  *external.Syncer
	vectors *embeddings.Service // nil with --no-text
	encoder *onnx.Encoder
	ownOpt  finetuned.Options      // how the encoders that bundles bring along are opened
	own     *finetuned.EncoderPool // of those in use, nil with --no-text
	unlock  func()
}

// openEngine locks the data folder and opens store and vectors. Closing the engine releases all.
func openEngine(data storeFlags, enc *encoderFlags, cfg *config.Config, opt storeOptions, log *slog.Logger) (_ *engine, err error) {
	e := &engine{}
	defer func() {
		if err != nil {
			_ = e.close(context.Background())
		}
	}()
	if e.unlock, err = ingest.Lock(data.Data); err != nil {
		return nil, err
	}
	if e.conn, err = data.connect(); err != nil {
		return nil, err
	}
	cfg.State.Text = cfg.Text
	if !enc.NoText {
		if e.encoder, err = enc.loadEncoder(log); err != nil {
			return nil, err
		}
		vopt := embeddings.Options{Dir: filepath.Join(data.Data, "vectors"), CacheBytes: enc.CacheBytes, Log: log}
		e.ownOpt, err = enc.ownOptions(e.encoder, embeddings.Options{Dir: ownVectors(data.Data), CacheBytes: enc.CacheBytes, Log: log})
		if err != nil {
			return nil, err
		}
		if e.conn != nil {
			e.ownOpt.Shared = func(digest string, dim int) embeddings.SharedCache {
				return vectors.New(e.conn, digest, dim, cfg.State.MaxAgeDuration())
			}
			vopt.Shared = e.ownOpt.Shared(e.encoder.Digest(), e.encoder.Dim())
		}
		e.vectors, err = embeddings.New(e.encoder, vopt)
		if err != nil {
			return nil, err
		}
		e.own = finetuned.NewEncoderPool(e.ownOpt, func(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error] { return e.store.Items(ctx) })
	}
	if opt.onItem == nil && e.vectors != nil {
		opt.onItem = e.enqueue
	}
	if e.store, err = openStore(&data, e.conn, cfg, opt, log); err != nil {
		return nil, err
	}
	e.tables, err = external.NewSyncer(data.Data, shelf(data.Data, e.conn, cfg), e.store, log)
	return e, err
}

// enqueue has new and changed items encoded by every encoder in use.
func (e *engine) enqueue(items []*ranker.ItemInfo) {
	e.vectors.Enqueue(items)
	e.own.Enqueue(items)
}

// shelf is where imported tables come from.
func shelf(data string, conn *redisconn.Conn, cfg *config.Config) external.Repository {
	if conn != nil {
		return redis.NewRepository(conn, cfg.State.MaxAgeDuration())
	}
	return external.FolderRepository(data)
}

// close releases everything, in the reverse order of opening.
func (e *engine) close(ctx context.Context) error {
	var errs []error
	if e.own != nil {
		errs = append(errs, e.own.Close(ctx))
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	if e.vectors != nil {
		errs = append(errs, e.vectors.Close(ctx))
	}
	if e.encoder != nil {
		e.encoder.Close()
	}
	if e.conn != nil {
		errs = append(errs, e.conn.Close())
	}
	if e.unlock != nil {
		e.unlock()
	}
	return errors.Join(errs...)
}

// closeTimed closes within the shutdown time and adds its error to err.
func (e *engine) closeTimed(err *error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	*err = errors.Join(*err, e.close(ctx))
}

// encoderDigest names the text encoder, "" without one.
func (e *engine) encoderDigest() string {
	if e.encoder == nil {
		return ""
	}
	return e.encoder.Digest()
}

// ranksWith returns v as the pipeline's interface, nil when there is no text model.
func ranksWith(v *embeddings.Service) ranker.Vectors {
	if v == nil {
		return nil
	}
	return v
}
