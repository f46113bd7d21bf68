package signals_test

import (
	"math"
	"slices"
	"strings"

	"relish/ranker"
)

// naiveLexical computes Lexical by its definition.
func naiveLexical(w *world, in *ranker.SignalInput) [][]float64 {
	known := ranker.NewItemInfo(ranker.Item{Title: strings.Join(vocabulary[:12], " ")}, nil)
	idf := func(token uint32) float64 {
		if i, ok := slices.BinarySearch(known.Tokens, token); ok {
			return float64(w.idfs[i])
		}
		return 5
	}
	unitVector := func(tokens []uint32) map[uint32]float64 {
		out, norm := map[uint32]float64{}, 0.0
		for _, token := range tokens {
			norm += idf(token) * idf(token)
		}
		for _, token := range tokens {
			out[token] = idf(token) / math.Sqrt(norm)
		}
		return out
	}
	product := func(a, b map[uint32]float64) (sum float64) {
		for token, x := range a {
			sum += x * b[token]
		}
		return sum
	}
	mean, weight := map[uint32]float64{}, 1.0
	var vectors []map[uint32]float64
	for _, it := range in.State.RecentItems {
		if it == nil || len(it.Tokens) == 0 || len(vectors) == 50 {
			continue
		}
		vectors = append(vectors, unitVector(it.Tokens))
		for token, x := range vectors[len(vectors)-1] {
			mean[token] += weight * x
		}
		weight *= 0.8
	}
	// The catalogue's mean is subtracted from all vectors, from that of the history after the
	// weights of its items were divided by their sum.
	catalogue := map[uint32]float64{}
	for i, token := range known.Tokens {
		catalogue[token] = float64(w.means[i])
	}
	difference := func(a map[uint32]float64, scale float64) map[uint32]float64 {
		out := map[uint32]float64{}
		for token, x := range a {
			out[token] = x * scale
		}
		for token, m := range catalogue {
			out[token] -= m
		}
		return out
	}
	cosine := func(a, b map[uint32]float64) float64 {
		return product(a, b) / math.Sqrt(product(a, a)*product(b, b))
	}
	total := (1 - weight) / 0.2 // of the geometric series of weights
	out := nans(len(in.State.Items), 3)
	for i, it := range in.State.Items {
		if it == nil || len(it.Tokens) == 0 {
			continue
		}
		candidate := difference(unitVector(it.Tokens), 1)
		if len(vectors) > 0 {
			out[i][0], out[i][1] = cosine(candidate, difference(mean, 1/total)), -1
			for _, x := range vectors[:min(len(vectors), 16)] {
				out[i][1] = max(out[i][1], cosine(candidate, difference(x, 1)))
			}
		}
		if in.Query == nil {
			continue
		}
		out[i][2] = 0
		for _, token := range in.Query.Tokens {
			if slices.Contains(it.Tokens, token) {
				length := 0.25 + 0.75*float64(len(it.Tokens))/2.5
				out[i][2] += idf(token) * 2.2 / (1 + 1.2*length)
			}
		}
	}
	return out
}
