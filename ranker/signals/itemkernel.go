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
//   - the standardized numeric fields,
//   - a learned vector.
//
// The field values are many and sparse. The other parts are the dense part. An ItemKernel is
// read-only once built and safe for concurrent use.
type ItemKernel struct {
	Content *ContentPrior // reads an item's text and numbers
	// ValueWeights and ValueFields are aligned with Content.Projection.FieldValues: the rarity of
	// the value, above 0, and the index of its field.
	ValueWeights []float32
	ValueFields  []int32
	Weights      KernelWeights
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
			values = FieldValueIndices(info, k.Content.Projection.FieldValues, values[:0])
			k.Values = append(k.Values, values...)
		}
		k.FirstValue = append(k.FirstValue, int32(len(k.Values)))
	}
	k.derive()
	k.Dense = make([]float32, len(infos)*k.Dim())
	regressors := make([]float32, len(k.Content.Weights))
	for i, info := range infos {
		if info != nil {
			k.contentPart(info, vectors[i], regressors, k.denseVector(int32(i)))
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
	p := k.Content.Projection
	k.textNorms = nil
	for d := range p.TextDim {
		n := len(p.TextProjection) / p.TextDim
		k.textNorms = append(k.textNorms, max(1e-6, vek32.Norm(p.TextProjection[d*n:(d+1)*n])))
	}
	k.denseWeights = slices.Concat(
		slices.Repeat([]float32{k.Weights.Text}, p.TextDim), k.Weights.Numbers,
		slices.Repeat([]float32{k.Weights.Learned}, k.LearnedDim))
	k.entries = make([]float32, len(k.Values))
	norms := make([]float32, len(k.Weights.Fields))
	for i := range len(k.FirstValue) - 1 {
		from, to := k.FirstValue[i], k.FirstValue[i+1]
		k.writeEntries(k.Values[from:to], norms, k.entries[from:to])
	}
	k.weightedEntries = make([]float32, len(k.Values))
	k.weightEntries(k.Values, k.entries, k.weightedEntries)
}

// weightEntries writes the entries of the given field values, times their weights, to out.
func (k *ItemKernel) weightEntries(values []int32, entries, out []float32) {
	for j, v := range values {
		out[j] = entries[j] * k.Weights.Fields[k.ValueFields[v]]
	}
}

// Dim returns the length of the dense part.
func (k *ItemKernel) Dim() int {
	return k.Content.Projection.TextDim + len(k.Content.NumericFields) + k.LearnedDim
}

// denseVector returns the dense part of an item.
func (k *ItemKernel) denseVector(item int32) []float32 {
	return k.Dense[int(item)*k.Dim() : (int(item)+1)*k.Dim()]
}

// LearnedVector returns the learned vector of an item, the end of its dense part.
func (k *ItemKernel) LearnedVector(item int32) []float32 {
	return k.denseVector(item)[k.Dim()-k.LearnedDim:]
}

// writeEntries writes the sparse part of an item with the given values. norms is memory, one number
// for each field.
func (k *ItemKernel) writeEntries(values []int32, norms, out []float32) {
	clear(norms)
	for _, v := range values {
		norms[k.ValueFields[v]] += k.ValueWeights[v] * k.ValueWeights[v]
	}
	for j, v := range values {
		out[j] = k.ValueWeights[v] / sqrt32(norms[k.ValueFields[v]])
	}
}

// contentPart writes the text and the numbers of an item to the dense part out. regressors is
// memory for ContentPrior.Regressors.
func (k *ItemKernel) contentPart(info *ranker.ItemInfo, vector, regressors, out []float32) {
	p := k.Content.Projection
	k.Content.Regressors(info, vector, regressors)
	text, numbers := out[:p.TextDim], regressors[p.Dim():]
	for d := range text { // undo the half-whitening, so that the product is close to the cosine
		text[d] = regressors[d] / k.textNorms[d]
	}
	if len(text) > 0 {
		normalize(text)
	}
	for j := range k.Content.NumericFields {
		out[p.TextDim+j] = numbers[numberTerms*j]
	}
}

// PredictLearned writes to out the learned vector that an item's field values predict: its place
// among the main directions of the field values.
func (k *ItemKernel) PredictLearned(values []int32, out []float32) {
	clear(out)
	p, squares := k.Content.Projection, float32(0)
	dim := min(len(out), p.FieldDim)
	for _, v := range values {
		addScaled(out[:dim], p.FieldVectors[int(v)*p.FieldDim:][:dim], 1)
		squares += k.ValueWeights[v] * k.ValueWeights[v]
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
	w.floats(k.ValueWeights)
	w.ints(k.ValueFields)
	w.floats(k.Weights.Fields)
	w.floats(k.Weights.Numbers)
	w.floats([]float32{k.Weights.Text, k.Weights.Learned, k.Weights.Scale})
	w.ints(k.Values)
	w.ints(k.FirstValue)
	w.count(k.LearnedDim)
	w.floats(k.Dense)
}

// itemKernel reads what encode wrote, for the items of content.
func (r *fileReader) itemKernel(content *ContentPrior) *ItemKernel {
	k := &ItemKernel{Content: content}
	values, items := len(content.Projection.FieldValues), content.Items.Len()
	k.ValueWeights = r.boundedFloats(values, 1e-6)
	k.ValueFields = r.ints(values, 0, max(1, values))
	k.Weights.Fields = r.boundedFloats(-1, 0)
	k.Weights.Numbers = r.boundedFloats(len(content.NumericFields), 0)
	if x := r.boundedFloats(3, 0); r.err == nil {
		k.Weights.Text, k.Weights.Learned, k.Weights.Scale = x[0], x[1], x[2]
	}
	for _, f := range k.ValueFields {
		if r.err == nil && int(f) >= len(k.Weights.Fields) {
			r.err = malformed("field %d has no weight", f)
		}
	}
	k.Values = r.ints(-1, 0, values)
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
