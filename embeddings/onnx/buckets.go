package onnx

import (
	"iter"
	"slices"
)

// gpuBuckets are the padded lengths on a GPU, then multiples of 64. A further run costs a GPU more
// than padding does, and it runs large batches.
var gpuBuckets = []int{8, 12, 16, 24, 32, 48, 64, 96, 128}

// bucket returns the padded length of a run whose longest text has n tokens. On a CPU nothing but
// the longest text pads: a padding token costs as much as one of a text, and a new length costs
// nothing.
func (p *sessionPool) bucket(n int) int {
	if !p.device.cuda {
		return n
	}
	for _, b := range gpuBuckets {
		if n <= b {
			return min(b, p.maxTokens)
		}
	}
	return min((n+63)/64*64, p.maxTokens)
}

// runsOf sorts order, which has indexes of texts, by length. It yields the parts of it that make
// one run of the model each. A part has one bucket, unless the pool mixes buckets, and at most
// limit padded tokens, or one text.
func (p *sessionPool) runsOf(texts [][]int32, order []int, limit int) iter.Seq[[]int] {
	slices.SortStableFunc(order, func(a, b int) int { return len(texts[a]) - len(texts[b]) })
	bucket := func(i int) int { return p.bucket(len(texts[order[i]])) }
	return func(yield func([]int) bool) {
		for start, end := 0, 1; start < len(order); start, end = end, end+1 {
			for end < len(order) && (p.mixes || bucket(end) == bucket(start)) &&
				(end+1-start)*bucket(end) <= limit {
				end++
			}
			if !yield(order[start:end]) {
				return
			}
		}
	}
}
