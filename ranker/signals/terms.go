package signals

import (
	"context"
	"math"
	"math/bits"
	"slices"

	"relish/ranker"
)

// Lexical matches words of title and tags, rare words counting more. The rarities are learned from the catalogue:
//
//	lexical.history  TF-IDF cosine (Salton and Buckley 1988) with the recency-weighted history
//	lexical.max      the largest TF-IDF cosine with any of the last 16 items
//	lexical.query    BM25 (Robertson and Zaragoza 2009) of the candidate for the search text
//
// A column is missing where either side has no words. A word that the catalogue did not have counts as the rarest.
type Lexical struct {
	tokens     []uint32  // hashes, ascending
	idfs       []float32 // aligned with words
	unknownIDF float32
	meanLength float32
	idfTable   *tokenWeights // the same, to look up
}

// NewLexical returns the matcher over words (hashes, ascending, distinct) with their inverse document frequencies, all
// above 0; rarest is that of any other word, length the mean number of words of an item. It keeps the slices.
func NewLexical(words []uint32, idfs []float32, rarest, length float32) *Lexical {
	t := &Lexical{tokens: words, idfs: idfs, unknownIDF: rarest, meanLength: length, idfTable: newTokenWeights(len(words))}
	for i, w := range words {
		t.idfTable.add(w, idfs[i])
	}
	return t
}

var _ TrainedSignal = (*Lexical)(nil)

// KindLexical is the kind of Terms's file.
const KindLexical = "lexical"

// BM25's usual constants. A word stands at most once in ranker.ItemInfo.Words, so k1 acts through the length alone.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

// minIDF keeps the norms of words above 0.
const minIDF = 1e-12

var lexicalColumns = []string{"lexical.history", "lexical.max", "lexical.query"}

// Kind implements Learned.
func (*Lexical) Kind() string { return KindLexical }

// Columns implements ranker.Matcher.
func (*Lexical) Columns() []string { return lexicalColumns }

// idf returns a word's inverse document frequency.
func (t *Lexical) idf(word uint32) float32 {
	if x := t.idfTable.weights[t.idfTable.slot(word)]; x != 0 {
		return x
	}
	return t.unknownIDF
}

// Compute implements ranker.Matcher.
func (t *Lexical) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	history := t.history(in)
	query := t.query(in.Query)
	for i, it := range in.State.Items {
		row := out[3*i : 3*i+3]
		row[0], row[1], row[2] = missing, missing, missing
		if it == nil || len(it.Tokens) == 0 {
			continue
		}
		if history != nil {
			row[0], row[1] = history.cosines(it.Tokens, t.norm(it.Tokens))
		}
		if query != nil {
			length := 1 - bm25B + bm25B*float32(len(it.Tokens))/t.meanLength
			row[2] = query.sum(it.Tokens) * (bm25K1 + 1) / (1 + bm25K1*length)
		}
	}
	return nil
}

func (t *Lexical) norm(words []uint32) float32 {
	sum := float32(0)
	for _, w := range words {
		x := t.idf(w)
		sum += x * x
	}
	return sqrt32(sum)
}

func (t *Lexical) query(q *ranker.ItemInfo) *tokenWeights {
	if q == nil || len(q.Tokens) == 0 {
		return nil
	}
	b := newTokenWeights(len(q.Tokens))
	for _, w := range q.Tokens {
		b.add(w, t.idf(w))
	}
	return b
}

// lexicalHistory are the words of a history, each with what it adds to the products with the whole and with each of the
// last items.
type lexicalHistory struct {
	bag  *tokenWeights           // word -> 1 + its place in the following
	idf2 []float32               // squared
	mean []float32               // idf times the weight in the history's unit vector
	in   []uint16                // bit k: the k-th newest item has it
	unit [maxRecentItems]float32 // one over each item's norm
}

func (t *Lexical) history(in *ranker.SignalInput) *lexicalHistory {
	items, words := recentItemsWithTokens(in)
	if len(items) == 0 {
		return nil
	}
	h := &lexicalHistory{bag: newTokenWeights(words)}
	weight := float32(1)
	for k, it := range items {
		norm := t.norm(it.Tokens)
		if k < maxRecentItems {
			h.unit[k] = 1 / norm
		}
		for _, w := range it.Tokens {
			at := h.index(w, t)
			h.mean[at] += weight / norm
			if k < maxRecentItems {
				h.in[at] |= 1 << k
			}
		}
		weight *= historyDecay
	}
	sum := 0.0
	for i, x := range h.mean {
		h.mean[i] = x * h.idf2[i] // the weight's own idf, and the candidate's
		sum += float64(x) * float64(h.mean[i])
	}
	norm := float32(math.Sqrt(sum))
	for i := range h.mean {
		h.mean[i] /= norm
	}
	return h
}

func (h *lexicalHistory) index(w uint32, t *Lexical) int {
	if at := int(h.bag.sum([]uint32{w})); at > 0 {
		return at - 1
	}
	x := t.idf(w)
	h.idf2, h.mean, h.in = append(h.idf2, x*x), append(h.mean, 0), append(h.in, 0)
	h.bag.add(w, float32(len(h.mean)))
	return len(h.mean) - 1
}

func (h *lexicalHistory) cosines(words []uint32, norm float32) (mean, best float32) {
	var with [maxRecentItems]float32
	for _, w := range words {
		slot := h.bag.slot(w)
		if h.bag.weights[slot] == 0 {
			continue
		}
		at := int(h.bag.weights[slot]) - 1
		mean += h.mean[at]
		for set := h.in[at]; set != 0; set &= set - 1 {
			k := bits.TrailingZeros16(set)
			with[k] += h.idf2[at] * h.unit[k]
		}
	}
	return mean / norm, slices.Max(with[:]) / norm
}

// Encode implements Learned.
func (t *Lexical) Encode() []byte {
	w := newFileWriter(KindLexical)
	words := make([]int32, len(t.tokens))
	for i, x := range t.tokens {
		words[i] = int32(x)
	}
	w.ints(words)
	w.floats(t.idfs)
	w.floats([]float32{t.unknownIDF, t.meanLength})
	return w.buf
}

func decodeLexical(data []byte, _ *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindLexical, data)
	raw := r.ints(-1, math.MinInt32, math.MaxInt32+1)
	idfs, rest := r.boundedFloats(len(raw), minIDF), r.boundedFloats(2, minIDF)
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	words := make([]uint32, len(raw))
	for i, x := range raw {
		if words[i] = uint32(x); i > 0 && words[i] <= words[i-1] {
			return nil, nil, errMalformedFile
		}
	}
	return NewLexical(words, idfs, rest[0], rest[1]), nil, nil
}
