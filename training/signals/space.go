package signals

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"

	"relish/ranker/signals"
)

// Of the space of contents.
const (
	textDim            = 48
	fieldDim           = 32
	textSample         = 20_000 // vectors that the directions are learned from
	maxValues          = 50_000 // field values that are kept
	subspaceIterations = 6
)

// TrainProjection learns where items lie by their content; vectors and field values may both be absent.
func TrainProjection(c *Corpus, seed uint64) (*signals.Projection, error) {
	s := &signals.Projection{}
	if err := fitTextDirections(s, c); err != nil {
		return nil, err
	}
	fitFieldDirections(s, c, rand.New(rand.NewPCG(seed, 0x5face)))
	return s, nil
}

// fitTextDirections takes the main directions of the text vectors, half whitened: each is divided by the fourth root of its
// variance, so that the largest, which tell kinds of items apart, do not drown the rest.
func fitTextDirections(s *signals.Projection, c *Corpus) error {
	var vectors [][]float32
	for _, v := range c.Vectors {
		if v != nil {
			vectors = append(vectors, v)
		}
	}
	if len(vectors) < 2 {
		return nil
	}
	step := max(1, len(vectors)/textSample)
	dim := len(vectors[0])
	mean := make([]float64, dim)
	cov := mat.NewSymDense(dim, nil)
	n := 0.0
	x := mat.NewVecDense(dim, nil)
	for i := 0; i < len(vectors); i += step {
		n++
		for d, v := range vectors[i] {
			mean[d] += float64(v)
			x.SetVec(d, float64(v))
		}
		cov.SymRankOne(cov, 1, x)
	}
	m := mat.NewVecDense(dim, mean)
	m.ScaleVec(1/n, m)
	cov.ScaleSym(1/n, cov)
	cov.SymRankOne(cov, -1, m)
	var eigen mat.EigenSym
	if !eigen.Factorize(cov, true) {
		return errSingular
	}
	var dirs mat.Dense
	eigen.VectorsTo(&dirs)
	values := eigen.Values(nil) // ascending
	for k := dim - 1; k >= 0 && s.TextDim < textDim && values[k] > 1e-9; k-- {
		scale := math.Pow(values[k], -0.25)
		shift := 0.0
		for d := range dim {
			w := dirs.At(d, k) * scale
			s.TextProjection = append(s.TextProjection, float32(w))
			shift += w * m.AtVec(d)
		}
		s.TextOffset = append(s.TextOffset, float32(shift))
		s.TextDim++
	}
	return nil
}

// fitFieldDirections takes the main directions of the items' field values, weighted by rarity, by subspace iteration
// (Halko, Martinsson and Tropp 2011).
func fitFieldDirections(s *signals.Projection, c *Corpus, rng *rand.Rand) {
	keys, weights := fieldWeights(c)
	if len(keys) == 0 {
		return
	}
	dim := min(fieldDim, len(keys))
	s.FieldValues, s.FieldDim = keys, dim
	rows := make([][]int32, 0, len(c.ItemInfos))
	for _, it := range c.ItemInfos {
		if it != nil {
			rows = append(rows, signals.FieldValueIndices(it, keys, nil))
		}
	}
	basis := make([][]float64, dim) // by direction
	for k := range basis {
		basis[k] = make([]float64, len(keys))
		for i := range basis[k] {
			basis[k][i] = rng.NormFloat64()
		}
	}
	for range subspaceIterations {
		orthonormalize(basis)
		parallel(dim, func(_, k int) { basis[k] = gramProduct(rows, weights, basis[k]) })
	}
	orthonormalize(basis)
	s.FieldVectors = make([]float32, len(keys)*dim)
	for i := range keys {
		for k := range dim {
			s.FieldVectors[i*dim+k] = float32(weights[i] * basis[k][i])
		}
	}
}

// fieldWeights returns the values of string fields that at least two items share, sorted, with their rarity over the
// root of how many values of that field an item has.
func fieldWeights(c *Corpus) (keys []string, weights []float64) {
	df, field := map[string]int{}, map[string]string{}
	items, values := map[string]float64{}, map[string]float64{}
	docs := 0.0
	for _, it := range c.ItemInfos {
		if it == nil {
			continue
		}
		docs++
		signals.EachStringField(it, func(name string, list []string) {
			items[name]++
			values[name] += float64(len(list))
			for _, v := range list {
				key := signals.FieldValueKey(name, v)
				df[key]++
				field[key] = name
			}
		})
	}
	for key, n := range df {
		if n < 2 || float64(n) > 0.5*docs {
			delete(df, key)
		}
	}
	keys = slices.SortedFunc(maps.Keys(df), func(a, b string) int { return cmp.Or(cmp.Compare(df[b], df[a]), cmp.Compare(a, b)) })
	keys = keys[:min(len(keys), maxValues)]
	slices.Sort(keys)
	for _, key := range keys {
		name := field[key]
		weights = append(weights, math.Log(docs/float64(df[key]))/math.Sqrt(values[name]/items[name]))
	}
	return keys, weights
}

// gramProduct is the product of M^T M with x, M being items by values.
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

// orthonormalize makes the vectors so, by Gram and Schmidt; one that is nothing then becomes zero.
func orthonormalize(vectors [][]float64) {
	for k, v := range vectors {
		for range 2 { // twice is enough (Kahan and Parlett)
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
