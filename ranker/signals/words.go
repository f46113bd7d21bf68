package signals

import (
	"context"

	"relish/ranker"
)

// TokenOverlap matches words of title and tags:
//
//	overlap.history  mean over the candidate's words of the recency-weighted share of history items that have it
//	overlap.query    share of the query's words that the candidate has
//
// It needs no encoder. A column is missing where either side has no words. The zero value is ready to use.
type TokenOverlap struct{}

var _ ranker.Signal = TokenOverlap{}

var overlapColumns = []string{"overlap.history", "overlap.query"}

// Columns implements ranker.Matcher.
func (TokenOverlap) Columns() []string { return overlapColumns }

// Compute implements ranker.Matcher.
func (TokenOverlap) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	history := historyTokenWeights(in)
	var query *tokenWeights
	if in.Query != nil && len(in.Query.Tokens) > 0 {
		query = newTokenWeights(len(in.Query.Tokens))
		for _, w := range in.Query.Tokens {
			query.add(w, 1/float32(len(in.Query.Tokens)))
		}
	}
	for i, it := range in.State.Items {
		row := out[i*2 : i*2+2]
		row[0], row[1] = missing, missing
		if it == nil || len(it.Tokens) == 0 {
			continue
		}
		if history != nil {
			row[0] = history.sum(it.Tokens) / float32(len(it.Tokens))
		}
		if query != nil {
			row[1] = query.sum(it.Tokens)
		}
	}
	return nil
}

// recentItemsWithTokens returns the last items of the history that have words, newest first, and how many words they have together.
func recentItemsWithTokens(in *ranker.SignalInput) (items []*ranker.ItemInfo, words int) {
	for _, it := range in.State.RecentItems {
		if it != nil && len(it.Tokens) > 0 && len(items) < maxMeanItems {
			items = append(items, it)
			words += len(it.Tokens)
		}
	}
	return items, words
}

// historyTokenWeights weighs the words of the last items of the history; nil when there are none.
func historyTokenWeights(in *ranker.SignalInput) *tokenWeights {
	items, words := recentItemsWithTokens(in)
	if words == 0 {
		return nil
	}
	total, weight := float32(0), float32(1)
	for range items {
		total += weight
		weight *= historyDecay
	}
	b := newTokenWeights(words)
	weight = 1
	for _, it := range items {
		for _, w := range it.Tokens {
			b.add(w, weight/total)
		}
		weight *= historyDecay
	}
	return b
}

// tokenWeights maps word hashes to weights by open addressing: a Go map would cost most of the matcher's time.
type tokenWeights struct {
	mask    uint32
	tokens  []uint32
	weights []float32 // 0: free, since weights are positive
}

func newTokenWeights(words int) *tokenWeights {
	size := 16
	for size < 4*words {
		size *= 2
	}
	return &tokenWeights{mask: uint32(size - 1), tokens: make([]uint32, size), weights: make([]float32, size)}
}

// slot finds a word's place. The table is at most a quarter full, so the walk is short.
func (b *tokenWeights) slot(w uint32) uint32 {
	i := w & b.mask
	for b.weights[i] != 0 && b.tokens[i] != w {
		i = (i + 1) & b.mask
	}
	return i
}

func (b *tokenWeights) add(w uint32, weight float32) {
	i := b.slot(w)
	b.tokens[i] = w
	b.weights[i] += weight
}

func (b *tokenWeights) sum(words []uint32) float32 {
	s := float32(0)
	for _, w := range words {
		s += b.weights[b.slot(w)]
	}
	return s
}
