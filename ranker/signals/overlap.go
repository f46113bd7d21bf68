package signals

import (
	"context"
	"sync"

	"relish/ranker"
)

// TokenOverlap compares the terms of title and tags (package terms):
//
//	overlap.history  mean over the candidate's terms of the recency-weighted share of history
//	                 items that contain the term
//	overlap.query    share of the query's terms that the candidate contains
//
// It needs no encoder. A column is missing if either side has no terms. The zero value is ready to
// use.
type TokenOverlap struct{}

var _ ranker.Signal = TokenOverlap{}

var overlapColumns = []string{"overlap.history", "overlap.query"}

// Columns implements ranker.Signal.
func (TokenOverlap) Columns() []string { return overlapColumns }

// InMemory implements ranker.InMemory.
func (TokenOverlap) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (TokenOverlap) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	history := historyTokenWeights(in)
	if history != nil {
		defer tokenTables.Put(history)
	}
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

// recentItemsWithTokens returns the last items of the history that have tokens, newest first, and
// the total number of their tokens.
func recentItemsWithTokens(in *ranker.SignalInput) (items []*ranker.ItemInfo, tokens int) {
	for _, it := range in.State.RecentItems {
		if it != nil && len(it.Tokens) > 0 && len(items) < maxMeanItems {
			items = append(items, it)
			tokens += len(it.Tokens)
		}
	}
	return items, tokens
}

// historyTokenWeights returns, for each token, the recency-weighted share of history items that
// contain it. It is nil if there are no tokens. The caller gives it back to tokenTables.
func historyTokenWeights(in *ranker.SignalInput) *tokenWeights {
	items, tokens := recentItemsWithTokens(in)
	if tokens == 0 {
		return nil
	}
	total, weight := float32(0), float32(1)
	for range items {
		total += weight
		weight *= historyDecay
	}
	weights := pooledTokenWeights(tokens)
	weight = 1
	for _, it := range items {
		for _, w := range it.Tokens {
			weights.add(w, weight/total)
		}
		weight *= historyDecay
	}
	return weights
}

// tokenWeights maps token hashes to positive weights. It is a hash table with open addressing,
// because a Go map would take most of the signal's time.
type tokenWeights struct {
	mask    uint32
	tokens  []uint32
	weights []float32 // 0: the slot is free
	count   int       // of tokens
}

// newTokenWeights returns an empty table for the given number of tokens. It is then at most a
// quarter full, so probing is short.
func newTokenWeights(tokens int) *tokenWeights {
	t := &tokenWeights{}
	t.reset(4 * tokens)
	return t
}

// tokenTables keeps the memory of tables from pooledTokenWeights.
var tokenTables = sync.Pool{New: func() any { return new(tokenWeights) }}

// pooledTokenWeights is newTokenWeights in memory of tokenTables, to which it is given back.
func pooledTokenWeights(tokens int) *tokenWeights {
	t := tokenTables.Get().(*tokenWeights)
	t.reset(4 * tokens)
	return t
}

// reset makes the table an empty one with at least the given number of slots.
func (t *tokenWeights) reset(slots int) {
	size := 16
	for size < slots {
		size *= 2
	}
	if cap(t.weights) < size {
		t.tokens, t.weights = make([]uint32, size), make([]float32, size)
	}
	t.tokens, t.weights = t.tokens[:size], t.weights[:size]
	clear(t.weights)
	t.mask, t.count = uint32(size-1), 0
}

// compact returns a small copy, which is at most half full.
func (t *tokenWeights) compact() *tokenWeights {
	out := &tokenWeights{}
	out.reset(2 * t.count)
	for i, weight := range t.weights {
		if weight != 0 {
			out.add(t.tokens[i], weight)
		}
	}
	return out
}

// slot returns the slot of a token, or the free slot where it belongs.
func (t *tokenWeights) slot(token uint32) uint32 {
	i := token & t.mask
	for t.weights[i] != 0 && t.tokens[i] != token {
		i = (i + 1) & t.mask
	}
	return i
}

// weight returns the token's weight, 0 if it has none.
func (t *tokenWeights) weight(token uint32) float32 { return t.weights[t.slot(token)] }

// add adds to the weight of a token.
func (t *tokenWeights) add(token uint32, weight float32) {
	i := t.slot(token)
	if t.weights[i] == 0 {
		t.count++
	}
	t.tokens[i] = token
	t.weights[i] += weight
}

// sum returns the sum of the tokens' weights.
func (t *tokenWeights) sum(tokens []uint32) float32 {
	s := float32(0)
	for _, token := range tokens {
		s += t.weights[t.slot(token)]
	}
	return s
}
