package signals

import (
	"maps"
	"math"
	"slices"

	"relish/ranker/signals"
)

// TrainLexical learns how rare each word of the catalogue is; nil if no item has a word.
func TrainLexical(c *Corpus) *signals.Lexical {
	df := map[uint32]int{}
	docs, words := 0, 0
	for _, it := range c.ItemInfos {
		if it == nil || len(it.Tokens) == 0 {
			continue
		}
		docs++
		words += len(it.Tokens)
		for _, w := range it.Tokens {
			df[w]++
		}
	}
	if docs == 0 {
		return nil
	}
	// BM25's inverse document frequency, which is never negative.
	idf := func(n int) float32 { return float32(math.Log1p((float64(docs-n) + 0.5) / (float64(n) + 0.5))) }
	list := slices.Sorted(maps.Keys(df))
	idfs := make([]float32, len(list))
	for i, w := range list {
		idfs[i] = idf(df[w])
	}
	return signals.NewLexical(list, idfs, idf(0), float32(words)/float32(docs))
}
