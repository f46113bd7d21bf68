package signals

import (
	"context"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"

	"relish/ranker"
)

// Lexical compares the terms of title and tags (package terms), where rare ones count more. The
// inverse document frequencies (IDF) come from the catalogue:
//
//	lexical.history  TF-IDF cosine (Salton and Buckley 1988) with the recency-weighted history
//	lexical.max      the largest TF-IDF cosine with any of the last 16 items
//	lexical.query    BM25 (Robertson and Zaragoza 2009) of the candidate for the search text
//
// The cosines are computed after the catalogue's mean TF-IDF vector was subtracted, as those of
// TextSimilarity are. A list of frequent words is close to that mean, and so similar to any
// history.
//
// A column is missing if either side has no terms. A term that the catalogue did not have counts as
// the rarest. Lexical is read-only once built and safe for concurrent use.
type Lexical struct {
	tokens     []uint32  // hashes, ascending
	idfs       []float32 // aligned with tokens, above 0
	unknownIDF float32   // of any other token
	meanLength float32   // mean number of tokens of an item
	idfTable   *tokenWeights
	mean       lexicalMean
	serial     uint32 // distinguishes the signals of this process
}

// lexicals counts the signals that were made.
var lexicals atomic.Uint32

// NewLexical returns the signal over tokens (hashes, ascending, distinct) with their IDFs, all
// above 0. means, aligned with tokens, is the mean over the catalogue of the items' TF-IDF vectors
// of unit length; nil: nothing is subtracted. unknownIDF is the IDF of any other token; meanLength
// is the mean number of tokens of an item. It keeps the slices.
func NewLexical(
	tokens []uint32, idfs, means []float32, unknownIDF, meanLength float32,
) *Lexical {
	l := &Lexical{
		tokens:     tokens,
		idfs:       idfs,
		unknownIDF: unknownIDF,
		meanLength: meanLength,
		idfTable:   newTokenWeights(len(tokens)),
		mean:       newLexicalMean(tokens, idfs, means),
		serial:     lexicals.Add(1),
	}
	for i, token := range tokens {
		l.idfTable.add(token, idfs[i])
	}
	return l
}

var _ TrainedSignal = (*Lexical)(nil)

// KindLexical is the kind of Lexical in bundles.
const KindLexical = "lexical"

// BM25's usual constants. ranker.ItemInfo.Tokens has a token at most once, so k1 acts through the
// length alone.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

// minIDF keeps the norms of token lists above 0.
const minIDF = 1e-12

var lexicalColumns = []string{"lexical.history", "lexical.max", "lexical.query"}

// Kind implements TrainedSignal.
func (*Lexical) Kind() string { return KindLexical }

// Columns implements ranker.Signal.
func (*Lexical) Columns() []string { return lexicalColumns }

func (l *Lexical) idf(token uint32) float32 {
	if x := l.idfTable.weight(token); x != 0 {
		return x
	}
	return l.unknownIDF
}

// InMemory implements ranker.InMemory.
func (*Lexical) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (l *Lexical) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	history := ranker.OfHistory(in, l, nil, func() (*lexicalHistory, int) {
		h := l.history(in)
		size := h.bytes()
		return h, size
	})
	query := l.query(in.Query)
	for i, it := range in.State.Items {
		row := out[3*i : 3*i+3]
		row[0], row[1], row[2] = missing, missing, missing
		if it == nil || len(it.Tokens) == 0 {
			continue
		}
		if history != nil {
			row[0], row[1] = l.cosines(history, it)
		}
		if query != nil {
			length := 1 - bm25B + bm25B*float32(len(it.Tokens))/l.meanLength
			row[2] = query.sum(it.Tokens) * (bm25K1 + 1) / (1 + bm25K1*length)
		}
	}
	return nil
}

// norm returns the length of an item's TF-IDF vector. The item remembers it.
func (l *Lexical) norm(it *ranker.ItemInfo) float32 {
	if norm, ok := it.Remembered(l.serial, 0); ok {
		return norm
	}
	sum := float32(0)
	for _, token := range it.Tokens {
		x := l.idf(token)
		sum += x * x
	}
	norm := sqrt32(sum)
	it.Remember(l.serial, 0, norm)
	return norm
}

// query returns the IDFs of the query's tokens, nil without any.
func (l *Lexical) query(q *ranker.ItemInfo) *tokenWeights {
	if q == nil || len(q.Tokens) == 0 {
		return nil
	}
	weights := newTokenWeights(len(q.Tokens))
	for _, token := range q.Tokens {
		weights.add(token, l.idf(token))
	}
	return weights
}

// lexicalHistory holds the tokens of a history, each with what it adds to the products with the
// mean of the history and with each of the last items.
type lexicalHistory struct {
	indexOf *tokenWeights           // token -> 1 + its index into the following
	idf2    []float32               // squared IDF
	mean    []float32               // IDF x weight in the history's unit vector
	in      []uint16                // bit k: the k-th newest item contains it
	unit    [maxRecentItems]float32 // by recent item: 1 / norm
	// If the catalogue's mean is subtracted: the last items, and their mean, which is not of unit
	// length.
	recent        []centering
	meanCentering centering
}

// history returns the history's tokens, nil without any.
func (l *Lexical) history(in *ranker.SignalInput) *lexicalHistory {
	items, tokens := recentItemsWithTokens(in)
	if len(items) == 0 {
		return nil
	}
	h := &lexicalHistory{indexOf: pooledTokenWeights(tokens)}
	weight, total, product := float32(1), float32(0), float32(0)
	for k, it := range items {
		norm := l.norm(it)
		if l.mean.table != nil {
			p := l.centering(it, norm)
			total, product = total+weight, product+weight*p.product
			if k < maxRecentItems {
				h.recent = append(h.recent, p)
			}
		}
		if k < maxRecentItems {
			h.unit[k] = 1 / norm
		}
		for _, token := range it.Tokens {
			i := h.index(token, l)
			h.mean[i] += weight / norm
			if k < maxRecentItems {
				h.in[i] |= 1 << k
			}
		}
		weight *= historyDecay
	}
	sum := 0.0
	for i, x := range h.mean {
		h.mean[i] = x * h.idf2[i] // one IDF for the history's vector, one for the candidate's
		sum += float64(x) * float64(h.mean[i])
	}
	norm := float32(math.Sqrt(sum))
	if l.mean.table != nil {
		h.meanCentering = newCentering(product/total, norm/total, l.mean.square)
		norm = total
	}
	for i := range h.mean {
		h.mean[i] /= norm
	}
	pooled := h.indexOf
	h.indexOf = pooled.compact()
	tokenTables.Put(pooled)
	return h
}

// bytes returns the size of the history, which may be nil.
func (h *lexicalHistory) bytes() int {
	if h == nil {
		return 0
	}
	return 240 + 8*len(h.indexOf.tokens) + 10*cap(h.mean) + 8*cap(h.recent)
}

// index returns a token's index. A new token gets the next one.
func (h *lexicalHistory) index(token uint32, l *Lexical) int {
	if i := int(h.indexOf.weight(token)); i > 0 {
		return i - 1
	}
	x := l.idf(token)
	h.idf2, h.mean, h.in = append(h.idf2, x*x), append(h.mean, 0), append(h.in, 0)
	h.indexOf.add(token, float32(len(h.mean)))
	return len(h.mean) - 1
}

// cosines returns a candidate's cosine with the mean of the history, and the largest one with any
// of the last items.
func (l *Lexical) cosines(h *lexicalHistory, it *ranker.ItemInfo) (mean, best float32) {
	norm := l.norm(it)
	var products [maxRecentItems]float32
	for _, token := range it.Tokens {
		i := int(h.indexOf.weight(token)) - 1
		if i < 0 {
			continue
		}
		mean += h.mean[i]
		for set := h.in[i]; set != 0; set &= set - 1 {
			k := bits.TrailingZeros16(set)
			products[k] += h.idf2[i] * h.unit[k]
		}
	}
	if l.mean.table == nil {
		return mean / norm, slices.Max(products[:]) / norm
	}
	c := l.centering(it, norm)
	best = -1
	for k, r := range h.recent {
		best = max(best, centeredCosine(products[k]/norm, c, r, l.mean.square))
	}
	return centeredCosine(mean/norm, c, h.meanCentering, l.mean.square), best
}

// Encode implements TrainedSignal.
func (l *Lexical) Encode() []byte {
	w := newFileWriter(KindLexical)
	tokens := make([]int32, len(l.tokens))
	for i, x := range l.tokens {
		tokens[i] = int32(x)
	}
	w.ints(tokens)
	w.floats(l.idfs)
	w.floats(l.mean.values)
	w.floats([]float32{l.unknownIDF, l.meanLength})
	return w.buf
}

func decodeLexical(data []byte, _ *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindLexical, data)
	raw := r.ints(-1, math.MinInt32, math.MaxInt32+1)
	idfs := r.boundedFloats(len(raw), minIDF)
	var means []float32
	if r.version >= 2 {
		means = r.boundedFloats(-1, minIDF)
		if n := len(means); r.err == nil && n != 0 && n != len(raw) {
			r.err = malformed("a mean of %d values for %d tokens", n, len(raw))
		}
	}
	rest := r.boundedFloats(2, minIDF)
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	tokens := make([]uint32, len(raw))
	for i, x := range raw {
		if tokens[i] = uint32(x); i > 0 && tokens[i] <= tokens[i-1] {
			return nil, nil, malformed("its tokens are not in ascending order")
		}
	}
	return NewLexical(tokens, idfs, means, rest[0], rest[1]), nil, nil
}
