package signals

import (
	"context"
	"math"
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// The history that text and token signals read. An interaction's weight is historyDecay to the
// power of its position, 0 for the newest. 0.8 was the best of the simple weightings on held-out
// purchases, and after 50 positions the weight is almost 0. The maximum reads fewer items, because
// it costs one product for each item and candidate.
const (
	historyDecay   = 0.8
	maxMeanItems   = 50
	maxRecentItems = 16
)

var missing = float32(math.NaN())

func fillMissing(out []float32) {
	for i := range out {
		out[i] = missing
	}
}

// TextSimilarity compares texts by the cosine similarity of their vectors:
//
//	text.mean    candidate and recency-weighted mean of the history
//	text.recent  candidate and the last item
//	text.max     the largest of the candidate and any of the last 16 items
//	text.query   candidate and search text
//
// A column is missing if either side has no vector. The zero value is ready to use.
type TextSimilarity struct{}

var _ ranker.Signal = TextSimilarity{}

var textColumns = []string{"text.mean", "text.recent", "text.max", "text.query"}

// Columns implements ranker.Signal.
func (TextSimilarity) Columns() []string { return textColumns }

// InMemory implements ranker.InMemory.
func (TextSimilarity) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (TextSimilarity) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	history := ranker.OfHistory(in, TextSimilarity{}, nil, func() (*textHistory, int) {
		h := newTextHistory(in)
		return h, 64 + 4*(len(h.recent)+len(h.mean))
	})
	rows := history.rows(in)
	if rows == nil {
		fillMissing(out)
		return nil
	}
	defer rows.free()
	for i, v := range in.ItemVectors {
		row := out[i*4 : i*4+4]
		row[0], row[1], row[2], row[3] = missing, missing, missing, missing
		if v == nil {
			continue
		}
		products := rows.dots(v)
		if in.QueryVector != nil {
			row[3], products = products[0], products[1:]
		}
		if len(products) == 0 {
			continue
		}
		row[0], row[1] = products[0], products[1]
		row[2] = max(-1, slices.Max(products[1:]))
	}
	return nil
}

// textHistory is what a history says of a user's texts.
type textHistory struct {
	mean   []float32 // see weightedMean
	recent []int32   // indices in RecentVectors of the last maxRecentItems different items
}

// rows returns what each candidate is compared with: the vector of the search text, the mean, and
// the last items, as far as they are there. It is nil if nothing is there. The caller frees it.
func (h *textHistory) rows(in *ranker.SignalInput) *rowSet {
	if in.QueryVector == nil && h.mean == nil {
		return nil
	}
	rows := newRowSet(max(len(in.QueryVector), len(h.mean)))
	if in.QueryVector != nil {
		rows.add(in.QueryVector)
	}
	if h.mean != nil {
		rows.add(h.mean)
		for _, k := range h.recent {
			rows.add(in.RecentVectors[k])
		}
	}
	return rows
}

func newTextHistory(in *ranker.SignalInput) *textHistory {
	indices := distinctVectors(in, maxMeanItems)
	vectors := make([][]float32, len(indices))
	for i, k := range indices {
		vectors[i] = in.RecentVectors[k]
	}
	return &textHistory{weightedMean(vectors), indices[:min(len(indices), maxRecentItems)]}
}

// distinctVectors returns the indices of the last n different items of the history that have a
// vector, newest first.
func distinctVectors(in *ranker.SignalInput, n int) []int32 {
	out := make([]int32, 0, n)
	seen := make(map[string]struct{}, n)
	for k, v := range in.RecentVectors {
		if len(out) == n {
			break
		}
		id := in.State.Recent[k].Item
		if _, again := seen[id]; again || v == nil {
			continue
		}
		seen[id] = struct{}{}
		out = append(out, int32(k))
	}
	return out
}

// weightedMean returns the recency-weighted mean of the history, scaled to unit length. It is nil
// for an empty history and for vectors that cancel out.
func weightedMean(history [][]float32) []float32 {
	if len(history) == 0 {
		return nil
	}
	mean := make([]float32, len(history[0]))
	weight := float32(1)
	for _, v := range history {
		for i, x := range v {
			mean[i] += weight * x
		}
		weight *= historyDecay
	}
	norm := vek32.Norm(mean)
	if norm < 1e-6 {
		return nil
	}
	vek32.MulNumber_Inplace(mean, 1/norm)
	return mean
}
