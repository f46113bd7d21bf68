package finetuned

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/ranker/bundle"
)

// Options configure Open, New and an EncoderPool.
type Options struct {
	Runtime *onnx.Runtime
	Encoder onnx.EncoderOptions
	// FP32 chooses the encoder's form with 32-bit weights, which is the faster one on a GPU.
	FP32 bool
	// Vectors are the options of each encoder's vectors. The file name of a vector table contains
	// the encoder's digest, so all encoders can share a folder.
	Vectors embeddings.Options
	// Shared returns the vector store that replicas share for an encoder. nil: there is none.
	Shared func(digest string, dim int) embeddings.SharedCache
}

// Vectors are the vectors of one fine-tuned encoder. It is safe for concurrent use. The owner
// closes it.
type Vectors struct {
	*embeddings.Service
	encoder *onnx.Encoder
	log     *slog.Logger
}

// Open opens the vectors of the encoder that a bundle or a classifier in dir brings, with those
// vectors that the folder has. It checks that the encoder's files have the digest that the manifest
// names. The caller closes the vectors.
func Open(
	ctx context.Context, dir string, named bundle.Encoder, opt Options,
) (*Vectors, error) {
	files, err := ReadFiles(dir, opt.FP32)
	if err != nil {
		return nil, fmt.Errorf("fine-tuned encoder: %w", err)
	}
	want := named.Digest
	if opt.FP32 {
		want = named.DigestFP32
	}
	if got := files.Digest(); got != want {
		return nil, fmt.Errorf("fine-tuned encoder: its digest is %.12s, the manifest says "+
			"%.12s: copy the folder again, or train again", got, want)
	}
	v, err := New(ctx, files, opt)
	if err != nil {
		return nil, err
	}
	v.ImportBundled(dir)
	return v, nil
}

// ImportBundled makes the vectors available that the bundle in dir brings for this encoder. If they
// cannot be read or stored, it logs why: their texts are encoded again.
func (v *Vectors) ImportBundled(dir string) {
	if _, err := v.ImportFrom(dir); err != nil && !errors.Is(err, embeddings.ErrClosed) {
		v.log.Warn("cannot use the vectors of a bundle; their texts are encoded again",
			"bundle", filepath.Base(dir), "error", err)
	}
}

// New opens the vectors of an encoder from its files. The caller closes the vectors.
func New(ctx context.Context, files *onnx.EncoderFiles, opt Options) (*Vectors, error) {
	encoder, err := opt.Runtime.NewEncoder(ctx, files, opt.Encoder)
	if err != nil {
		return nil, fmt.Errorf("fine-tuned encoder: %w", err)
	}
	if opt.Shared != nil {
		opt.Vectors.Shared = opt.Shared(encoder.Digest(), encoder.Dim())
	}
	service, err := embeddings.New(encoder, opt.Vectors)
	if err != nil {
		encoder.Close()
		return nil, err
	}
	log := opt.Vectors.Log
	if log == nil {
		log = slog.Default()
	}
	return &Vectors{service, encoder, log}, nil
}

// Close closes the vectors, as embeddings.Service.Close does, and then the encoder.
func (v *Vectors) Close(ctx context.Context) error {
	err := v.Service.Close(ctx)
	v.encoder.Close()
	return err
}
