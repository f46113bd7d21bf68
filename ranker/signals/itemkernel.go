package signals

import (
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// ItemKernel says how much a user's preferences for two items have in common. An item's vector has
// these parts, and the kernel is the sum of their inner products, each times its weight:
//
//   - for each field with strings the item's values, by rarity and of unit length, so that the
//     product is the cosine of the two items' values,
//   - the main directions of the text, of unit length,
//   - the numeric fields, as standardized quantiles,
//   - a learned vector.
//
// The field values are many and sparse. The other parts are the dense part. An ItemKernel is
// read-only once built and safe for concurrent use.
type ItemKernel struct {
	Features *ContentFeatures
	Weights  KernelWeights
	// The field values of item i are Values[FirstValue[i]:FirstValue[i+1]].
	FirstValue, Values []int32
	LearnedDim         int       // at least 1
	Dense              []float32 // items x Dim(), row-major: texts, numbers, learned vectors

	entries         []float32 // aligned with Values: the numbers of the items' sparse parts
	weightedEntries []float32 // the same times their weights
	denseWeights    []float32 // by dimension of the dense part
	textNorms       []float32 // by direction: the factor of the half-whitening
}

// KernelWeights are the weights of the kernel's parts, at least 0. A weight is about the variance,
// in log-odds, of the preferences that the part explains.
type KernelWeights struct {
	Fields  []float32 // by field with strings
	Text    float32
	Numbers []float32 // by numeric field
	Learned float32
	// Scale multiplies the posterior mean.
	Scale float32
}

// NewItemKernel returns the kernel k with the parts of each item that come from its content. The
// learned vectors, of length k.LearnedDim, are zero. infos and vectors hold the content of each
// item and the vector of its text, nil for none.
func NewItemKernel(
	k ItemKernel, infos []*ranker.ItemInfo, vectors [][]float32,
) *ItemKernel {
	k.FirstValue, k.Values = []int32{0}, nil
	var values []int32
	for _, info := range infos {
		if info != nil {
			keys := k.Features.Projection.FieldValues
			values = FieldValueIndices(info, keys, values[:0])
			k.Values = append(k.Values, values...)
		}
		k.FirstValue = append(k.FirstValue, int32(len(k.Values)))
	}
	k.derive()
	k.Dense = make([]float32, len(infos)*k.Dim())
	reader := k.Features.NewReader()
	for i, info := range infos {
		if info != nil {
			reader.Read(info, vectors[i])
			k.contentPart(info, reader.Text, k.denseVector(int32(i)))
		}
	}
	return &k
}

// WithWeights returns the same kernel with other weights.
func (k *ItemKernel) WithWeights(w KernelWeights) *ItemKernel {
	out := *k
	out.Weights = w
	out.derive()
	return &out
}

// derive computes what the exported fields imply.
func (k *ItemKernel) derive() {
	p := k.Features.Projection
	k.textNorms = nil
	for d := range p.TextDim {
		n := len(p.TextProjection) / p.TextDim
		k.textNorms = append(k.textNorms, max(1e-6, vek32.Norm(p.TextProjection[d*n:(d+1)*n])))
	}
	k.denseWeights = slices.Concat(
		slices.Repeat([]float32{k.Weights.Text}, p.TextDim), k.Weights.Numbers,
		slices.Repeat([]float32{k.Weights.Learned}, k.LearnedDim))
	k.entries = make([]float32, len(k.Values))
	norms := make([]float32, 2*k.Features.FieldCount)
	for i := range len(k.FirstValue) - 1 {
		from, to := k.FirstValue[i], k.FirstValue[i+1]
		k.Features.writeEntries(k.Values[from:to], norms, k.entries[from:to])
	}
	k.weightedEntries = make([]float32, len(k.Values))
	k.weightEntries(k.Values, k.entries, k.weightedEntries)
}

// weightEntries writes the entries of the given field values, times their weights, to out.
func (k *ItemKernel) weightEntries(values []int32, entries, out []float32) {
	for j, v := range values {
		out[j] = entries[j] * k.Weights.Fields[k.Features.ValueFields[v]]
	}
}

// Dim returns the length of the dense part.
func (k *ItemKernel) Dim() int {
	return k.Features.Projection.TextDim + len(k.Features.Numbers) + k.LearnedDim
}

// denseVector returns the dense part of an item.
func (k *ItemKernel) denseVector(item int32) []float32 {
	return k.Dense[int(item)*k.Dim() : (int(item)+1)*k.Dim()]
}

// LearnedVector returns the learned vector of an item, the end of its dense part.
func (k *ItemKernel) LearnedVector(item int32) []float32 {
	return k.denseVector(item)[k.Dim()-k.LearnedDim:]
}

// sqrt12 makes the standard deviation of uniform quantiles 1.
const sqrt12 = 3.4641016

// contentPart writes the text, as ContentReader has it, and the numbers of an item to the dense
// part out, which is zero.
func (k *ItemKernel) contentPart(info *ranker.ItemInfo, text, out []float32) {
	for d := range text { // undo the half-whitening, so that the product is close to the cosine
		out[d] = text[d] / k.textNorms[d]
	}
	if len(text) > 0 {
		normalize(out[:len(text)])
	}
	for j := range k.Features.Numbers {
		scale := &k.Features.Numbers[j]
		if x, ok := NumberOf(info, scale.Name); ok {
			out[len(text)+j] = sqrt12 * (scale.Interpolate(x, scale.Quantiles) - 0.5)
		}
	}
}

// PredictLearned writes to out the learned vector that an item's field values predict: its place
// among the main directions of the field values.
func (k *ItemKernel) PredictLearned(values []int32, out []float32) {
	clear(out)
	p, squares := k.Features.Projection, float32(0)
	dim := min(len(out), p.FieldDim)
	for _, v := range values {
		addScaled(out[:dim], p.FieldVectors[int(v)*p.FieldDim:][:dim], 1)
		squares += k.Features.ValueWeights[v] * k.Features.ValueWeights[v]
	}
	if squares > 0 {
		vek32.DivNumber_Inplace(out, sqrt32(squares))
	}
}

// ItemValues returns the field values of an item.
func (k *ItemKernel) ItemValues(item int32) []int32 {
	return k.Values[k.FirstValue[item]:k.FirstValue[item+1]]
}

func (k *ItemKernel) encode(w *fileWriter) {
	w.floats(k.Weights.Fields)
	w.floats(k.Weights.Numbers)
	w.floats([]float32{k.Weights.Text, k.Weights.Learned, k.Weights.Scale})
	w.ints(k.Values)
	w.ints(k.FirstValue)
	w.count(k.LearnedDim)
	w.floats(k.Dense)
}

// itemKernel reads what encode wrote, for the given number of items.
func (r *fileReader) itemKernel(features *ContentFeatures, items int) *ItemKernel {
	k := &ItemKernel{Features: features}
	k.Weights.Fields = r.boundedFloats(features.FieldCount, 0)
	k.Weights.Numbers = r.boundedFloats(len(features.Numbers), 0)
	if x := r.boundedFloats(3, 0); r.err == nil {
		k.Weights.Text, k.Weights.Learned, k.Weights.Scale = x[0], x[1], x[2]
	}
	k.Values = r.ints(-1, 0, len(features.ValueWeights))
	k.FirstValue = r.rowOffsets(items, len(k.Values))
	if k.LearnedDim = r.dim(); r.err == nil && k.LearnedDim < 1 {
		r.err = malformed("a learned vector has length 0")
	}
	k.Dense = r.floats(items * k.Dim())
	if r.err == nil {
		k.derive()
	}
	return k
}
