package own

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
	GPU     bool // the 32-bit form is used, which is the faster one there
	// Vectors are the options of an encoder's vectors; its table is by digest, so that all can be in one folder.
	Vectors embeddings.Options
	// Shared makes the level that replicas share, for an encoder; nil: there is none.
	Shared func(digest string, dim int) embeddings.Shared
}

// Texts are the vectors of one encoder.
type Texts struct {
	*embeddings.Service
	encoder *onnx.Encoder
}

// Open opens the vectors of the encoder of the bundle in dir. The caller closes them.
func Open(dir string, m *bundle.Manifest, opt Options) (*Texts, error) {
	files, err := Read(dir, opt.GPU)
	if err != nil {
		return nil, fmt.Errorf("its text encoder: %w", err)
	}
	want := m.Encoder.Digest
	if opt.GPU {
		want = m.Encoder.DigestFP32
	}
	if got := files.Digest(); got != want {
		return nil, fmt.Errorf("its text encoder has the digest %.12s, the manifest says %.12s", got, want)
	}
	return New(files, opt)
}

// New opens the vectors of an encoder. The caller closes them.
func New(files *onnx.Files, opt Options) (*Texts, error) {
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
	return &Texts{service, encoder}, nil
}

// Close closes the vectors, as Service.Close does, and the encoder.
func (t *Texts) Close(ctx context.Context) error {
	err := t.Service.Close(ctx)
	t.encoder.Close()
	return err
}
