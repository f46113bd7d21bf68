package finetuned

import (
	"context"
	"fmt"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/ranker/bundle"
)

// Options of Open and of a Keeper.
type Options struct {
	Runtime *onnx.Runtime
	Encoder onnx.EncoderOptions
	FP32    bool // the 32-bit form is used, which is the faster one there
	// Vectors are the options of an encoder's vectors; its table is by digest, so that all can be in one folder.
	Vectors embeddings.Options
	// Shared makes the level that replicas share, for an encoder; nil: there is none.
	Shared func(digest string, dim int) embeddings.SharedCache
}

// Vectors are the vectors of one encoder.
type Vectors struct {
	*embeddings.Service
	encoder *onnx.Encoder
}

// Open opens the vectors of the encoder of the bundle in dir. The caller closes them.
func Open(dir string, m *bundle.Manifest, opt Options) (*Vectors, error) {
	files, err := ReadFiles(dir, opt.FP32)
	if err != nil {
		return nil, fmt.Errorf("its text encoder: %w", err)
	}
	want := m.Encoder.Digest
	if opt.FP32 {
		want = m.Encoder.DigestFP32
	}
	if got := files.Digest(); got != want {
		return nil, fmt.Errorf("its text encoder has the digest %.12s, the manifest says %.12s", got, want)
	}
	return New(files, opt)
}

// New opens the vectors of an encoder. The caller closes them.
func New(files *onnx.EncoderFiles, opt Options) (*Vectors, error) {
	encoder, err := opt.Runtime.NewEncoder(files, opt.Encoder)
	if err != nil {
		return nil, fmt.Errorf("its text encoder: %w", err)
	}
	if opt.Shared != nil {
		opt.Vectors.Shared = opt.Shared(encoder.Digest(), encoder.Dim())
	}
	service, err := embeddings.New(encoder, opt.Vectors)
	if err != nil {
		encoder.Close()
		return nil, err
	}
	return &Vectors{service, encoder}, nil
}

// Close closes the vectors, as Service.Close does, and the encoder.
func (t *Vectors) Close(ctx context.Context) error {
	err := t.Service.Close(ctx)
	t.encoder.Close()
	return err
}
