package signals_test

import (
	"math"
	"slices"
	"strings"

	"relish/ranker"
)

func plainTerms(w *world, in *ranker.SignalInput) [][]float64 {
	known := ranker.NewItemInfo(ranker.Item{Title: strings.Join(vocabulary[:12], " ")}, nil).Tokens
	idfs := w.idfs
	idf := func(word uint32) float64 {
		if at, ok := slices.BinarySearch(known, word); ok {
			return float64(idfs[at])
		}
		return 5
	}
	unitOf := func(words []uint32) map[uint32]float64 {
		out, norm := map[uint32]float64{}, 0.0
		for _, word := range words {
			norm += idf(word) * idf(word)
		}
		for _, word := range words {
			out[word] = idf(word) / math.Sqrt(norm)
		}
		return out
	}
	product := func(a, b map[uint32]float64) (sum float64) {
		for word, x := range a {
			sum += x * b[word]
		}
		return sum
	}
	mean, weight := map[uint32]float64{}, 1.0
	var each []map[uint32]float64
	for _, it := range in.State.RecentItems {
		if it == nil || len(it.Tokens) == 0 || len(each) == 50 {
			continue
		}
		each = append(each, unitOf(it.Tokens))
		for word, x := range each[len(each)-1] {
			mean[word] += weight * x
		}
		weight *= 0.8
	}
	out := nans(len(in.State.Items), 3)
	for i, it := range in.State.Items {
		if it == nil || len(it.Tokens) == 0 {
			continue
		}
		own := unitOf(it.Tokens)
		if len(each) > 0 {
			out[i][0], out[i][1] = product(own, mean)/math.Sqrt(product(mean, mean)), 0
			for _, x := range each[:min(len(each), 16)] {
				out[i][1] = max(out[i][1], product(own, x))
			}
		}
		if in.Query == nil {
			continue
		}
		out[i][2] = 0
		for _, word := range in.Query.Tokens {
			if slices.Contains(it.Tokens, word) {
				out[i][2] += idf(word) * 2.2 / (1 + 1.2*(0.25+0.75*float64(len(it.Tokens))/2.5))
			}
		}
	}
	return out
}
