package signals

import (
	served "relish/ranker/signals"
)

// TrainTextSimilarity computes the mean of the catalogue's text vectors. It reports false if no
// item has one.
func TrainTextSimilarity(c *Corpus) (similarity served.TextSimilarity, ok bool) {
	var sums []float64
	n := 0.0
	for _, v := range c.Vectors {
		if v == nil {
			continue
		}
		if sums == nil {
			sums = make([]float64, len(v))
		}
		n++
		for d, x := range v {
			sums[d] += float64(x)
		}
	}
	if n == 0 {
		return similarity, false
	}
	mean := make([]float32, len(sums))
	for d, sum := range sums {
		mean[d] = float32(sum / n)
	}
	return served.NewTextSimilarity(mean), true
}
