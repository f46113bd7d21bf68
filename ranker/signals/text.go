// Package match holds the matchers: each compares what a user did lately with every candidate and
// gives columns of the feature matrix.
//
// A matcher is pure: what it sees is in ranker.MatchInput, what it gives depends on nothing else, so
// that replay computes the same columns as serving did.
package signals

import (
	"context"
	"math"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// How much of the history the poolings read, and how fast an interaction loses weight. 0.8 to the
// power of the place was the best of the simple weightings on held-out purchases; beyond 50 places the
// weight is nothing. The maximum reads less, since its cost is one product per place and candidate.
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

// TextSimilarity matches the texts of the user's history, and the query's, with the candidates' texts
// by cosine similarity of their vectors:
//
//	text.mean    with the recency-weighted mean of the history
//	text.recent  with the last item
//	text.max     the largest with any of the last 16 items
//	text.query   with the search text
//
// A column is missing where either side has no vector. The zero value is ready to use.
type TextSimilarity struct{}

var _ ranker.Signal = TextSimilarity{}

var textColumns = []string{"text.mean", "text.recent", "text.max", "text.query"}

// Columns implements ranker.Matcher.
func (TextSimilarity) Columns() []string { return textColumns }

// Compute implements ranker.Matcher.
func (TextSimilarity) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	history := distinctVectors(in, maxMeanItems)
	mean := weightedMean(history)
	recent := history[:min(len(history), maxRecentItems)]
	for i, v := range in.ItemVectors {
		row := out[i*4 : i*4+4]
		row[0], row[1], row[2], row[3] = missing, missing, missing, missing
		if v == nil {
			continue
		}
		if in.QueryVector != nil {
			row[3] = vek32.Dot(v, in.QueryVector)
		}
		if mean == nil {
			continue
		}
		row[0] = vek32.Dot(v, mean)
		best := float32(-1)
		for k, h := range recent {
			d := vek32.Dot(v, h)
			if k == 0 {
				row[1] = d
			}
			best = max(best, d)
		}
		row[2] = best
	}
	return nil
}

// distinctVectors returns the vectors of the last n different items of the history that have one, newest first.
func distinctVectors(in *ranker.SignalInput, n int) [][]float32 {
	out := make([][]float32, 0, n)
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
		out = append(out, v)
	}
	return out
}

// weightedMean returns the unit vector of the recency-weighted mean, nil for no history or one that cancels out.
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
