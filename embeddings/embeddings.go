// Package embeddings turns texts into unit-length vectors and keeps them at hand.
//
// A text's vector is looked for nearest first: in a ristretto cache of float32 vectors (bounded in
// bytes), in the vector table (a memory-mapped file of float16 rows that survives restarts), where
// there is one in the level that several replicas share, and at last it is made by the encoder, whose
// work is batched across requests. What a request could not wait for is
// encoded in the background. Keys are the text's content hash together with the encoder's digest, so
// a changed text is encoded again and a changed encoder never meets old vectors.
package embeddings

import "context"

// Model is a text encoder as the batcher sees it: a tokenizer and a forward pass.
// Implementations are safe for concurrent use.
type Model interface {
	// Tokenize appends the ids of text to dst, special tokens included, truncated to MaxTokens,
	// and returns the extended slice. The empty text gives no ids at all.
	Tokenize(dst []int32, text string) []int32
	// Run encodes one batch: out[i] (of length Dim, owned by the caller) receives the unit-length
	// vector of batch[i]. All members are padded to the longest one's length bucket, so batches
	// should hold texts of like length. It fails as a whole when ctx ends or an output is not finite.
	Run(ctx context.Context, batch [][]int32, out [][]float32) error
	// Bucket returns the padded length of a text of n tokens.
	Bucket(n int) int
	Dim() int
	MaxTokens() int
	// Parallel is how many Runs make sense at once: the size of the session pool.
	Parallel() int
	// BatchTokens is the padded tokens (rows x length) that one Run should hold at most.
	BatchTokens() int
	// Digest identifies model, tokenizer and pooling: hex SHA-256.
	Digest() string
}

// SharedCache is a level of vectors that several services use, for one encoder. It is only a cache: an
// implementation that fails answers that it has nothing. Implementations are safe for concurrent use and
// bound their own time.
type SharedCache interface {
	// Get fills out[i], of nil, with a vector for keys[i] if there is one. Each is the caller's.
	Get(ctx context.Context, keys []uint64, out [][]float32)
	// Put offers vectors, which are float16 values and not kept after the call.
	Put(ctx context.Context, keys []uint64, vecs [][]float32)
}
