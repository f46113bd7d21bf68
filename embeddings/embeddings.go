// Package embeddings turns texts into unit-length vectors and keeps them.
//
// [Service] looks for a text's vector in the nearest place first: in a cache in memory, in the
// vector table (a memory-mapped file that survives restarts), and in the cache that replicas
// share, if there is one. Texts found nowhere go to the encoder, in batches that several requests
// share. A text that a request cannot wait for is encoded in the background.
//
// A vector's key is the hash of its text. Table and shared cache belong to one encoder, by its
// digest. A changed text is therefore encoded again, and a changed encoder never meets vectors of
// another one.
//
// The package ranks nothing and loads no model: the encoder is a [Model], see package onnx.
package embeddings

import "context"

// Model is a text encoder: a tokenizer and a forward pass. Implementations are safe for concurrent
// use. Everything but Tokenize and Run is cheap. Everything is constant but Parallel,
// BatchTokens, Bucket and MixesBuckets, which change if the encoder moves to another device.
type Model interface {
	// Tokenize appends the token ids of a text to dst and returns the extended slice. The ids
	// include the special tokens and are truncated to MaxTokens. A text without content has no ids
	// at all; the service treats it as no text.
	Tokenize(dst []int32, text string) []int32
	// Run encodes one batch: out[i], of length Dim and owned by the caller, receives the
	// unit-length vector of batch[i], which depends on batch[i] only. A batch is one run of the
	// model, with each text padded to the bucket of the longest, if MixesBuckets; otherwise texts
	// of each further bucket cost a further run. Run fails as a whole if ctx ends or if an output
	// is not finite. It bounds its own time; the error is context.DeadlineExceeded then.
	Run(ctx context.Context, batch [][]int32, out [][]float32) error
	// Bucket returns the padded length of a run whose longest text has n tokens.
	Bucket(n int) int
	// MixesBuckets reports whether one run of the model may have texts of several buckets.
	MixesBuckets() bool
	// Dim is the number of components of a vector.
	Dim() int
	// MaxTokens is the length of the longest text, special tokens included.
	MaxTokens() int
	// Parallel is how many calls of Run make sense at once: the size of the session pool.
	Parallel() int
	// BatchTokens is how many padded tokens (texts x padded length) one Run should hold at most.
	BatchTokens() int
	// Digest identifies model, tokenizer and pooling: a SHA-256 in hexadecimal.
	Digest() string
}

// SharedCache is a cache of vectors that several services use, for one encoder. It never fails: if
// it cannot answer, it has nothing. Implementations are safe for concurrent use and bound their
// own time.
type SharedCache interface {
	// Get sets out[i] to the vector of keys[i] if there is one. out must hold only nil. The
	// vectors are the caller's.
	Get(ctx context.Context, keys []uint64, out [][]float32)
	// Put offers vectors, whose components are float16 values. It does not keep them after the
	// call.
	Put(ctx context.Context, keys []uint64, vecs [][]float32)
}
