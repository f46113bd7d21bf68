package classifier

import (
	"math"
	"slices"

	served "relish/embeddings/classifier"
)

const (
	// buckets is the number of hash buckets of words and pairs of words. Two of the some thousand
	// that matter seldom share one.
	buckets = 1 << 15
	// minTexts is the number of examples that a bucket needs. A word that occurs once says nothing
	// about other texts.
	minTexts = 2
	// maxWordWeights bounds the weights of buckets for all labels together. A training takes some
	// 300 bytes for each, so that 500 labels need 2 GB at most.
	maxWordWeights = 4 << 20
)

// vocabulary is the buckets that occur often enough, numbered from 0, and their weights.
type vocabulary struct {
	idf     []float32 // by bucket; 0: not used
	compact []int32   // by bucket: its number, -1 without one
	size    int
}

// newVocabulary counts the words of the texts. With many labels it has the most frequent buckets
// only, see maxWordWeights.
func newVocabulary(texts []string, labels int) *vocabulary {
	v := &vocabulary{idf: make([]float32, buckets), compact: make([]int32, buckets)}
	counts := make([]int, buckets)
	for _, text := range texts {
		for _, f := range served.CountBuckets(text, buckets) {
			counts[f.Bucket]++
		}
	}
	least := leastTexts(counts, maxWordWeights/labels)
	for b, n := range counts {
		v.compact[b] = -1
		if n < least {
			continue
		}
		v.idf[b] = float32(math.Log(float64(1+len(texts))/float64(1+n)) + 1)
		v.compact[b] = int32(v.size)
		v.size++
	}
	return v
}

// leastTexts returns the number of examples that a bucket needs, so that most have it at most.
func leastTexts(counts []int, most int) int {
	if most >= len(counts) {
		return minTexts
	}
	sorted := slices.Sorted(slices.Values(counts))
	return max(minTexts, sorted[len(sorted)-1-most]+1)
}

// features returns the features of a text with compact bucket numbers, of length 1 together.
func (v *vocabulary) features(text string) []served.Feature {
	out := (&served.Lexical{IDF: v.idf, Scale: 1}).Features(text)
	for i := range out {
		out[i].Bucket = v.compact[out[i].Bucket]
	}
	return out
}

// head makes the classifier's head from learned weights.
func head(labels []string, d *data, v *vocabulary, s settings, w weights, t float64) *served.Head {
	n := len(labels)
	f := make([]float32, len(w))
	for i, x := range w {
		f[i] = float32(x)
	}
	h := &served.Head{Labels: labels, Dim: d.dim, Temperature: t}
	h.Weights, h.Bias = d.uncenter(f[:n*d.dim], f[n*d.dim:n*(d.dim+1)])
	if s.scale == 0 {
		return h
	}
	h.Lexical = &served.Lexical{IDF: v.idf, Scale: float32(s.scale)}
	h.LexicalWeights = make([]float32, buckets*n)
	words := f[n*(d.dim+1):]
	for b, k := range v.compact {
		if k >= 0 {
			copy(h.LexicalWeights[b*n:(b+1)*n], words[int(k)*n:(int(k)+1)*n])
		}
	}
	return h
}
