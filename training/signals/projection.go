package signals

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"

	"relish/internal/parallel"
	"relish/ranker"
	served "relish/ranker/signals"
)

const (
	textDim            = 48     // directions of text vectors that are kept
	fieldDim           = 32     // directions of field values that are kept
	maxTextSample      = 20_000 // text vectors that the directions are fitted to
	maxFieldValues     = 50_000 // field values that are kept
	subspaceIterations = 6
)

// TrainProjection fits the projection of item content to a content vector. The result has no
// dimensions if no item has a text or a field.
func TrainProjection(c *Corpus, seed uint64) (*served.Projection, error) {
	p := &served.Projection{}
	if err := fitTextDirections(p, c); err != nil {
		return nil, err
	}
	fitFieldDirections(p, c, rand.New(rand.NewPCG(seed, 0x5face)))
	return p, nil
}

// fitTextDirections takes the principal components of the text vectors and divides each by the
// fourth root of its variance, half of a whitening. Without that, the largest components, which
// separate kinds of items, would dominate all others.
func fitTextDirections(p *served.Projection, c *Corpus) error {
	var vectors [][]float32
	for _, v := range c.Vectors {
		if v != nil {
			vectors = append(vectors, v)
		}
	}
	if len(vectors) < 2 {
		return nil
	}
	stride := max(1, len(vectors)/maxTextSample)
	dim := len(vectors[0])
	sums := make([]float64, dim)
	cov := mat.NewSymDense(dim, nil)
	n := 0.0
	x := mat.NewVecDense(dim, nil)
	for i := 0; i < len(vectors); i += stride {
		n++
		for d, v := range vectors[i] {
			sums[d] += float64(v)
			x.SetVec(d, float64(v))
		}
		cov.SymRankOne(cov, 1, x)
	}
	mean := mat.NewVecDense(dim, sums)
	mean.ScaleVec(1/n, mean)
	cov.ScaleSym(1/n, cov)
	cov.SymRankOne(cov, -1, mean)
	var eigen mat.EigenSym
	if !eigen.Factorize(cov, true) {
		return errSingular
	}
	var directions mat.Dense
	eigen.VectorsTo(&directions)
	variances := eigen.Values(nil) // ascending
	for k := dim - 1; k >= 0 && p.TextDim < textDim && variances[k] > 1e-9; k-- {
		scale := math.Pow(variances[k], -0.25)
		offset := 0.0
		for d := range dim {
			w := directions.At(d, k) * scale
			p.TextProjection = append(p.TextProjection, float32(w))
			offset += w * mean.AtVec(d)
		}
		p.TextOffset = append(p.TextOffset, float32(offset))
		p.TextDim++
	}
	return nil
}

// fitFieldDirections takes the principal directions of the items' field values, weighted by rarity.
// It finds them by subspace iteration (Halko, Martinsson and Tropp 2011).
func fitFieldDirections(p *served.Projection, c *Corpus, rng *rand.Rand) {
	values, weights, _ := fieldValueWeights(c)
	if len(values) == 0 {
		return
	}
	dim := min(fieldDim, len(values))
	p.FieldValues, p.FieldDim = values, dim
	rows := make([][]int32, 0, len(c.ItemInfos)) // by item: indices of its values
	for _, info := range c.ItemInfos {
		if info != nil {
			rows = append(rows, served.FieldValueIndices(info, values, nil))
		}
	}
	basis := make([][]float64, dim) // by direction
	for k := range basis {
		basis[k] = make([]float64, len(values))
		for i := range basis[k] {
			basis[k][i] = rng.NormFloat64()
		}
	}
	for range subspaceIterations {
		orthonormalize(basis)
		parallel.Each(dim, func(k int) { basis[k] = gramProduct(rows, weights, basis[k]) })
	}
	orthonormalize(basis)
	p.FieldVectors = make([]float32, len(values)*dim)
	for i := range values {
		for k := range dim {
			p.FieldVectors[i*dim+k] = float32(weights[i] * basis[k][i])
		}
	}
}

// eachStringField calls f for each of the item's fields that hold strings, and then for its tags as
// the field "tags".
func eachStringField(info *ranker.ItemInfo, f func(name string, values []string)) {
	for name, v := range info.Fields() {
		if v.Kind == ranker.String || v.Kind == ranker.Strings {
			f(name, v.AsStrings())
		}
	}
	if tags := info.Tags(); len(tags) > 0 {
		f("tags", tags)
	}
}

// fieldValueWeights returns the string values that at least two items share, sorted, with their
// weights and their fields. A weight is the value's inverse document frequency, divided by the
// square root of how many values of its field an item has.
func fieldValueWeights(c *Corpus) (keys []string, weights []float64, fields []string) {
	itemsWith, fieldOf := map[string]int{}, map[string]string{}                 // by key
	itemsWithField, valuesOfField := map[string]float64{}, map[string]float64{} // by field
	items := 0.0
	for _, info := range c.ItemInfos {
		if info == nil {
			continue
		}
		items++
		eachStringField(info, func(field string, values []string) {
			itemsWithField[field]++
			values = distinctStrings(values)
			valuesOfField[field] += float64(len(values))
			for _, v := range values {
				key := served.FieldValueKey(field, v)
				itemsWith[key]++
				fieldOf[key] = field
			}
		})
	}
	for key, n := range itemsWith {
		if n < 2 || float64(n) > 0.5*items {
			delete(itemsWith, key)
		}
	}
	keys = slices.SortedFunc(maps.Keys(itemsWith), func(a, b string) int {
		return cmp.Or(cmp.Compare(itemsWith[b], itemsWith[a]), cmp.Compare(a, b))
	})
	keys = keys[:min(len(keys), maxFieldValues)]
	slices.Sort(keys)
	for _, key := range keys {
		field := fieldOf[key]
		idf := math.Log(items / float64(itemsWith[key]))
		weights = append(weights, idf/math.Sqrt(valuesOfField[field]/itemsWithField[field]))
		fields = append(fields, field)
	}
	return keys, weights, fields
}

// gramProduct returns MᵀM x, where M is the weighted matrix of items by field values.
func gramProduct(rows [][]int32, weights, x []float64) []float64 {
	out := make([]float64, len(x))
	for _, row := range rows {
		sum := 0.0
		for _, v := range row {
			sum += weights[v] * x[v]
		}
		for _, v := range row {
			out[v] += weights[v] * sum
		}
	}
	return out
}

// orthonormalize makes the vectors orthonormal by the Gram-Schmidt process. A vector that depends
// on the earlier ones becomes zero.
func orthonormalize(vectors [][]float64) {
	for k, v := range vectors {
		for range 2 { // the second pass removes rounding errors (Kahan and Parlett)
			for _, u := range vectors[:k] {
				p := dot(u, v)
				for i := range v {
					v[i] -= p * u[i]
				}
			}
		}
		norm := math.Sqrt(dot(v, v))
		if norm < 1e-9 {
			norm = math.Inf(1)
		}
		for i := range v {
			v[i] /= norm
		}
	}
}

func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}
