package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/embeddings/own"
	vectors "relish/embeddings/redis"
	"relish/features/journal"
	"relish/features/redis"
	"relish/features/tables"
	"relish/internal/config"
	"relish/internal/redisconn"
	"relish/ranker"
	"relish/ranker/bundle"
)

// engine is everything behind the HTTP edge: the store, the vectors, and what they were opened with.
type engine struct {
	conn    *redisconn.Conn // nil without --redis
	store   store
	tables  *tables.Keeper
	vectors *embeddings.Service // nil with --no-text
	encoder *onnx.Encoder
	own     atomic.Pointer[own.Keeper]                     // of bundles' encoders, nil until a server asks for it
	shared  func(digest string, dim int) embeddings.Shared // the vectors that replicas share, nil without --redis
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
	if e.unlock, err = journal.Lock(data.Data); err != nil {
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
		if e.conn != nil {
			e.shared = func(digest string, dim int) embeddings.Shared {
				return vectors.New(e.conn, digest, dim, cfg.State.Age())
			}
			vopt.Shared = e.shared(e.encoder.Digest(), e.encoder.Dim())
		}
		e.vectors, err = embeddings.New(e.encoder, vopt)
		if err != nil {
			return nil, err
		}
	}
	if opt.onItem == nil && e.vectors != nil {
		opt.onItem = e.enqueue
	}
	if e.store, err = openStore(&data, e.conn, cfg, opt, log); err != nil {
		return nil, err
	}
	e.tables, err = tables.Open(data.Data, shelf(data.Data, e.conn, cfg), e.store, log)
	return e, err
}

// enqueue has new and changed items encoded by every encoder in use.
func (e *engine) enqueue(items []*ranker.ItemInfo) {
	e.vectors.Enqueue(items)
	if k := e.own.Load(); k != nil {
		k.Enqueue(items)
	}
}

// keepOwn opens the keeper of the encoders that bundles bring along, where there is text.
func (e *engine) keepOwn(data string, f *encoderFlags, log *slog.Logger) error {
	if e.vectors == nil {
		return nil
	}
	opt, err := f.ownOptions(e.encoder, embeddings.Options{Dir: ownVectors(data), CacheBytes: f.CacheBytes, Log: log})
	if err != nil {
		return err
	}
	opt.Shared = e.shared
	e.own.Store(own.NewKeeper(opt, e.store.Items))
	return nil
}

// texts are the bundles' own encoders for a registry, nil without any text.
func (e *engine) texts() bundle.Texts {
	if k := e.own.Load(); k != nil {
		return k
	}
	return nil
}

// shelf is where imported tables come from.
func shelf(data string, conn *redisconn.Conn, cfg *config.Config) tables.Shelf {
	if conn != nil {
		return redis.NewShelf(conn, cfg.State.Age())
	}
	return tables.Folder(data)
}

// close releases everything, in the reverse order of opening.
func (e *engine) close(ctx context.Context) error {
	var errs []error
	if k := e.own.Load(); k != nil {
		errs = append(errs, k.Close(ctx))
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
