package classifier

import (
	"math"

	"github.com/cespare/xxhash/v2"

	"relish/internal/terms"
)

// Lexical turns a text into TF-IDF features of its terms (package terms) and of pairs of
// neighbouring terms (Salton and Buckley 1988). A feature is the bucket of a hash, so there is no
// vocabulary to store. It is immutable and safe for concurrent use.
type Lexical struct {
	// IDF is the weight of each bucket: 0 for one that occurred in no example or in too few.
	IDF []float32
	// Scale multiplies the features, whose vector has length 1 before.
	Scale float32
}

// Feature is one entry of a sparse vector.
type Feature struct {
	Bucket int32
	Value  float32
}

// Features returns the sparse features of a text, each bucket once, in the order of the text. A
// text without a known word has none.
func (l *Lexical) Features(text string) []Feature {
	features := CountBuckets(text, len(l.IDF))
	norm, known := 0.0, features[:0]
	for _, f := range features {
		f.Value = l.IDF[f.Bucket] * float32(1+math.Log(float64(f.Value)))
		if f.Value > 0 {
			norm += float64(f.Value) * float64(f.Value)
			known = append(known, f)
		}
	}
	for i := range known {
		known[i].Value *= l.Scale / float32(math.Sqrt(norm))
	}
	return known
}

// CountBuckets returns how often the terms and pairs of terms of a text fall into each of n
// buckets, each bucket once. Beside the text it takes memory for the buckets only, because a text
// of a request may have millions of words.
func CountBuckets(text string, n int) []Feature {
	var out []Feature
	at := map[int32]int{}
	count := func(hash uint64) {
		b := int32(hash % uint64(n))
		i, ok := at[b]
		if !ok {
			i = len(out)
			at[b], out = i, append(out, Feature{Bucket: b})
		}
		out[i].Value++
	}
	last, pair := "", xxhash.New()
	for w := range terms.All(text) {
		count(xxhash.Sum64String(w))
		if last != "" {
			pair.Reset()
			for _, part := range []string{last, " ", w} {
				_, _ = pair.WriteString(part) // it never fails
			}
			count(pair.Sum64())
		}
		last = w
	}
	return out
}
