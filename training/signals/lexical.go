package signals

import (
	"maps"
	"math"
	"slices"

	served "relish/ranker/signals"
)

// TrainLexical counts in how many items each token of the catalogue occurs. It returns nil if no
// item has a token.
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
	return served.NewLexical(tokens, idfs, idf(0), float32(total)/float32(items))
}
