package match

import (
	"context"

	"relish/ranker"
)

// TokenOverlap matches words of title and tags:
//
//	words.history  mean over the candidate's words of the recency-weighted share of history items that have it
//	words.query    share of the query's words that the candidate has
//
// It needs no encoder. A column is missing where either side has no words. The zero value is ready to use.
type TokenOverlap struct{}

var _ ranker.Matcher = TokenOverlap{}

var wordColumns = []string{"words.history", "words.query"}

// Columns implements ranker.Matcher.
func (TokenOverlap) Columns() []string { return wordColumns }

// Match implements ranker.Matcher.
func (TokenOverlap) Match(_ context.Context, in *ranker.MatchInput, out []float32) error {
	history := bagOf(in)
	var query *bag
	if in.Query != nil && len(in.Query.Words) > 0 {
		query = newBag(len(in.Query.Words))
		for _, w := range in.Query.Words {
			query.add(w, 1/float32(len(in.Query.Words)))
		}
	}
	for i, it := range in.State.Items {
		row := out[i*2 : i*2+2]
		row[0], row[1] = missing, missing
		if it == nil || len(it.Words) == 0 {
			continue
		}
		if history != nil {
			row[0] = history.sum(it.Words) / float32(len(it.Words))
		}
		if query != nil {
			row[1] = query.sum(it.Words)
		}
	}
	return nil
}

// wordy returns the last items of the history that have words, newest first, and how many words they have together.
func wordy(in *ranker.MatchInput) (items []*ranker.ItemInfo, words int) {
	for _, it := range in.State.History {
		if it != nil && len(it.Words) > 0 && len(items) < meanItems {
			items = append(items, it)
			words += len(it.Words)
		}
	}
	return items, words
}

// bagOf weighs the words of the last items of the history; nil when there are none.
func bagOf(in *ranker.MatchInput) *bag {
	items, words := wordy(in)
	if words == 0 {
		return nil
	}
	total, weight := float32(0), float32(1)
	for range items {
		total += weight
		weight *= decay
	}
	b := newBag(words)
	weight = 1
	for _, it := range items {
		for _, w := range it.Words {
			b.add(w, weight/total)
		}
		weight *= decay
	}
	return b
}

// bag maps word hashes to weights by open addressing: a Go map would cost most of the matcher's time.
type bag struct {
	mask  uint32
	words []uint32
	vals  []float32 // 0: free, since weights are positive
}

func newBag(words int) *bag {
	size := 16
	for size < 4*words {
		size *= 2
	}
	return &bag{mask: uint32(size - 1), words: make([]uint32, size), vals: make([]float32, size)}
}

// slot finds a word's place. The table is at most a quarter full, so the walk is short.
func (b *bag) slot(w uint32) uint32 {
	i := w & b.mask
	for b.vals[i] != 0 && b.words[i] != w {
		i = (i + 1) & b.mask
	}
	return i
}

func (b *bag) add(w uint32, weight float32) {
	i := b.slot(w)
	b.words[i] = w
	b.vals[i] += weight
}

func (b *bag) sum(words []uint32) float32 {
	s := float32(0)
	for _, w := range words {
		s += b.vals[b.slot(w)]
	}
	return s
}
