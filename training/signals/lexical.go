package signals

import (
	"maps"
	"math"
	"slices"

	served "relish/ranker/signals"
)

// TrainLexical counts in how many items each token of the catalogue occurs, and computes the mean
// of the items' TF-IDF vectors. It returns nil if no item has a token.
func TrainLexical(c *Corpus) *served.Lexical {
	itemsWith := map[uint32]int{} // by token
	items, total := 0, 0
	for _, info := range c.ItemInfos {
		if info == nil || len(info.Tokens) == 0 {
			continue
		}
		items++
		total += len(info.Tokens)
		for _, token := range info.Tokens {
			itemsWith[token]++
		}
	}
	if items == 0 {
		return nil
	}
	// The inverse document frequency of BM25 in the form that is never negative.
	idf := func(n int) float32 {
		return float32(math.Log1p((float64(items-n) + 0.5) / (float64(n) + 0.5)))
	}
	tokens := slices.Sorted(maps.Keys(itemsWith))
	idfs := make([]float32, len(tokens))
	for i, token := range tokens {
		idfs[i] = idf(itemsWith[token])
	}
	means := meanTokenVector(c, tokens, idfs, float64(items))
	return served.NewLexical(tokens, idfs, means, idf(0), float32(total)/float32(items))
}

// meanTokenVector returns the mean over the items of their TF-IDF vectors of unit length.
func meanTokenVector(c *Corpus, tokens []uint32, idfs []float32, items float64) []float32 {
	sums, indices := make([]float64, len(tokens)), []int(nil)
	for _, info := range c.ItemInfos {
		if info == nil {
			continue
		}
		indices = indices[:0]
		squares := 0.0
		for _, token := range info.Tokens {
			i, _ := slices.BinarySearch(tokens, token)
			indices = append(indices, i)
			squares += float64(idfs[i]) * float64(idfs[i])
		}
		for _, i := range indices {
			sums[i] += float64(idfs[i]) / math.Sqrt(squares)
		}
	}
	out := make([]float32, len(tokens))
	for i, sum := range sums {
		out[i] = float32(sum / items)
	}
	return out
}
