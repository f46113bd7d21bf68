package match

import (
	"context"
	"math"
	"math/bits"
	"slices"

	"relish/ranker"
)

// Terms matches words of title and tags, rare words counting more. The rarities are learned from the catalogue:
//
//	terms.history  TF-IDF cosine (Salton and Buckley 1988) with the recency-weighted history
//	terms.max      the largest TF-IDF cosine with any of the last 16 items
//	terms.query    BM25 (Robertson and Zaragoza 2009) of the candidate for the search text
//
// A column is missing where either side has no words. A word that the catalogue did not have counts as the rarest.
type Terms struct {
	words  []uint32  // hashes, ascending
	idfs   []float32 // aligned with words
	rarest float32
	length float32
	table  *bag // the same, to look up
}

// NewTerms returns the matcher over words (hashes, ascending, distinct) with their inverse document frequencies, all
// above 0; rarest is that of any other word, length the mean number of words of an item. It keeps the slices.
func NewTerms(words []uint32, idfs []float32, rarest, length float32) *Terms {
	t := &Terms{words: words, idfs: idfs, rarest: rarest, length: length, table: newBag(len(words))}
	for i, w := range words {
		t.table.add(w, idfs[i])
	}
	return t
}

var _ Learned = (*Terms)(nil)

// KindTerms is the kind of Terms's file.
const KindTerms = "terms"

// BM25's usual constants. A word stands at most once in ranker.ItemInfo.Words, so k1 acts through the length alone.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

// minIDF keeps the norms of words above 0.
const minIDF = 1e-12

var termColumns = []string{"terms.history", "terms.max", "terms.query"}

// Kind implements Learned.
func (*Terms) Kind() string { return KindTerms }

// Columns implements ranker.Matcher.
func (*Terms) Columns() []string { return termColumns }

// idf returns a word's inverse document frequency.
func (t *Terms) idf(word uint32) float32 {
	if x := t.table.vals[t.table.slot(word)]; x != 0 {
		return x
	}
	return t.rarest
}

// Match implements ranker.Matcher.
func (t *Terms) Match(_ context.Context, in *ranker.MatchInput, out []float32) error {
	history := t.history(in)
	query := t.query(in.Query)
	for i, it := range in.State.Items {
		row := out[3*i : 3*i+3]
		row[0], row[1], row[2] = missing, missing, missing
		if it == nil || len(it.Words) == 0 {
			continue
		}
		if history != nil {
			row[0], row[1] = history.match(it.Words, t.norm(it.Words))
		}
		if query != nil {
			length := 1 - bm25B + bm25B*float32(len(it.Words))/t.length
			row[2] = query.sum(it.Words) * (bm25K1 + 1) / (1 + bm25K1*length)
		}
	}
	return nil
}

func (t *Terms) norm(words []uint32) float32 {
	sum := float32(0)
	for _, w := range words {
		x := t.idf(w)
		sum += x * x
	}
	return sqrt(sum)
}

func (t *Terms) query(q *ranker.ItemInfo) *bag {
	if q == nil || len(q.Words) == 0 {
		return nil
	}
	b := newBag(len(q.Words))
	for _, w := range q.Words {
		b.add(w, t.idf(w))
	}
	return b
}

// termHistory are the words of a history, each with what it adds to the products with the whole and with each of the
// last items.
type termHistory struct {
	bag  *bag              // word -> 1 + its place in the following
	idf2 []float32         // squared
	mean []float32         // idf times the weight in the history's unit vector
	in   []uint16          // bit k: the k-th newest item has it
	unit [maxItems]float32 // one over each item's norm
}

func (t *Terms) history(in *ranker.MatchInput) *termHistory {
	items, words := wordy(in)
	if len(items) == 0 {
		return nil
	}
	h := &termHistory{bag: newBag(words)}
	weight := float32(1)
	for k, it := range items {
		norm := t.norm(it.Words)
		if k < maxItems {
			h.unit[k] = 1 / norm
		}
		for _, w := range it.Words {
			at := h.place(w, t)
			h.mean[at] += weight / norm
			if k < maxItems {
				h.in[at] |= 1 << k
			}
		}
		weight *= decay
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

func (h *termHistory) place(w uint32, t *Terms) int {
	if at := int(h.bag.sum([]uint32{w})); at > 0 {
		return at - 1
	}
	x := t.idf(w)
	h.idf2, h.mean, h.in = append(h.idf2, x*x), append(h.mean, 0), append(h.in, 0)
	h.bag.add(w, float32(len(h.mean)))
	return len(h.mean) - 1
}

func (h *termHistory) match(words []uint32, norm float32) (mean, best float32) {
	var with [maxItems]float32
	for _, w := range words {
		slot := h.bag.slot(w)
		if h.bag.vals[slot] == 0 {
			continue
		}
		at := int(h.bag.vals[slot]) - 1
		mean += h.mean[at]
		for set := h.in[at]; set != 0; set &= set - 1 {
			k := bits.TrailingZeros16(set)
			with[k] += h.idf2[at] * h.unit[k]
		}
	}
	return mean / norm, slices.Max(with[:]) / norm
}

// Encode implements Learned.
func (t *Terms) Encode() []byte {
	w := newWriter(KindTerms)
	words := make([]int32, len(t.words))
	for i, x := range t.words {
		words[i] = int32(x)
	}
	w.ints(words)
	w.floats(t.idfs)
	w.floats([]float32{t.rarest, t.length})
	return w.buf
}

func decodeTerms(data []byte, _ *ranker.ItemTable) (Learned, *ranker.ItemTable, error) {
	r := newReader(KindTerms, data)
	raw := r.ints(-1, math.MinInt32, math.MaxInt32+1)
	idfs, rest := r.amounts(len(raw), minIDF), r.amounts(2, minIDF)
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	words := make([]uint32, len(raw))
	for i, x := range raw {
		if words[i] = uint32(x); i > 0 && words[i] <= words[i-1] {
			return nil, nil, errFile
		}
	}
	return NewTerms(words, idfs, rest[0], rest[1]), nil, nil
}
