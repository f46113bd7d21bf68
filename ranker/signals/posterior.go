package signals

import (
	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// vectorSum is a weighted sum of item vectors.
type vectorSum struct {
	dense    []float32
	weighted []float32 // dense times the weights of the kernel's parts; finish computes it
	sparse   []float32 // by field value; zero except for touched
	touched  []int32   // the field values of the items
	marked   []bool    // by field value: it is in touched
}

func newVectorSum(k *ItemKernel) vectorSum {
	values := len(k.Features.ValueWeights)
	return vectorSum{
		dense: make([]float32, k.Dim()), weighted: make([]float32, k.Dim()),
		sparse: make([]float32, values), marked: make([]bool, values),
	}
}

func (s *vectorSum) clear() {
	clear(s.dense)
	for _, v := range s.touched {
		s.sparse[v], s.marked[v] = 0, false
	}
	s.touched = s.touched[:0]
}

// add adds an item's vector times x.
func (s *vectorSum) add(k *ItemKernel, item int32, x float32) {
	addScaled(s.dense, k.denseVector(item), x)
	first := k.FirstValue[item]
	for j, v := range k.ItemValues(item) {
		if !s.marked[v] {
			s.marked[v], s.touched = true, append(s.touched, v)
		}
		s.sparse[v] += x * k.entries[int(first)+j]
	}
}

// set sets the sum of the residuals' items, each times its factor.
func (s *vectorSum) set(k *ItemKernel, residuals []Residual, factors []float32) {
	s.clear()
	for i, r := range residuals {
		s.add(k, r.Item, factors[i])
	}
	vek32.Mul_Into(s.weighted, s.dense, k.denseWeights)
}

// sparseDot returns the inner product with an item's sparse part, whose weighted entries are given.
func (s *vectorSum) sparseDot(values []int32, weightedEntries []float32) (sum float32) {
	for j, v := range values {
		sum += s.sparse[v] * weightedEntries[j]
	}
	return sum
}

// product returns the kernel's product with an item.
func (s *vectorSum) product(k *ItemKernel, item int32) float32 {
	entries := k.weightedEntries[k.FirstValue[item]:k.FirstValue[item+1]]
	return vek32.Dot(s.weighted, k.denseVector(item)) + s.sparseDot(k.ItemValues(item), entries)
}

// userPosterior says what a user's residuals tell of their preferences: a sum of item vectors whose
// product with an item is the posterior mean. It is not safe for concurrent use.
type userPosterior struct {
	kernel *ItemKernel
	sum    vectorSum
	system residualSystem
	// By residual: the square root of the precision, and the factor of the item in sum.
	roots, factors []float32
	known          []posteriorMean // the result of means
	sourceKey      []uint64        // memory of source

	// Memory for an item that the kernel does not know.
	reader *ContentReader
	vector []float32
}

// newPosterior returns a posterior without residuals. set computes it; the memory is reused.
func (k *ItemKernel) newPosterior() *userPosterior {
	return &userPosterior{
		kernel: k, sum: newVectorSum(k), system: newResidualSystem(k),
		reader: k.Features.NewReader(), vector: make([]float32, k.Dim()),
	}
}

// residualSteps bounds the conjugate gradient steps. A hundred shown items need about ten.
const residualSteps = 24

// set computes the posterior of the residuals. With Q the diagonal matrix of the square roots of
// the precisions, K the kernel's products of the residuals' items and r the residuals, the items'
// factors are Q (I + Q K Q)⁻¹ Q⁻¹ r.
func (u *userPosterior) set(residuals []Residual) {
	u.roots = u.roots[:0]
	right := make([]float32, len(residuals))
	for i, r := range residuals {
		u.roots = append(u.roots, sqrt32(r.Precision))
		right[i] = r.Value / u.roots[i]
	}
	u.factors = append(u.factors[:0], u.solve(residuals, right)...)
	u.sum.set(u.kernel, residuals, u.factors)
}

// solve returns Q (I + Q K Q)⁻¹ right. It overwrites right.
func (u *userPosterior) solve(residuals []Residual, right []float32) []float32 {
	u.system.begin(residuals)
	defer u.system.end()
	solution := conjugateGradient(right, residualSteps, func(p, out []float32) {
		u.system.multiply(u.roots, p, out)
	})
	vek32.Mul_Inplace(solution, u.roots)
	return solution
}

// posteriorMean is an item's posterior mean in log-odds: the part of its content and the part of
// its learned vector.
type posteriorMean struct{ content, learned float32 }

// means is mean for each of the items that is at least 0, in their order. The result is valid until
// the next call.
func (u *userPosterior) means(items []int32) []posteriorMean {
	k := u.kernel
	u.known = u.known[:0]
	split := k.Dim() - k.LearnedDim
	content, learned := newRowSet(split), newRowSet(k.LearnedDim)
	defer content.free()
	defer learned.free()
	for _, item := range items {
		if item < 0 {
			continue
		}
		entries := k.weightedEntries[k.FirstValue[item]:k.FirstValue[item+1]]
		sparse := u.sum.sparseDot(k.ItemValues(item), entries)
		u.known = append(u.known, posteriorMean{content: sparse})
		dense := k.denseVector(item)
		learned.add(dense[split:])
		if split > 0 {
			content.add(dense[:split])
		}
	}
	if split > 0 {
		for i, x := range content.dots(u.sum.weighted[:split]) {
			u.known[i].content += x
		}
	}
	for i, x := range learned.dots(u.sum.weighted[split:]) {
		m := &u.known[i]
		m.content, m.learned = m.content*k.Weights.Scale, x*k.Weights.Scale
	}
	return u.known
}

// mean returns the parts of an item's posterior mean, in log-odds: that of its content and that of
// its learned vector.
func (u *userPosterior) mean(item int32) (content, learned float32) {
	k := u.kernel
	entries := k.weightedEntries[k.FirstValue[item]:k.FirstValue[item+1]]
	return u.parts(k.denseVector(item), k.ItemValues(item), entries)
}

// newItemMean is mean for an item that the kernel does not know, from its content.
func (u *userPosterior) newItemMean(
	info *ranker.ItemInfo, vector []float32,
) (content, learned float32) {
	k := u.kernel
	u.reader.Read(info, vector)
	clear(u.vector)
	k.contentPart(info, u.reader.Text, u.vector)
	k.PredictLearned(u.reader.Values, u.vector[k.Dim()-k.LearnedDim:])
	k.weightEntries(u.reader.Values, u.reader.Entries, u.reader.Entries)
	return u.parts(u.vector, u.reader.Values, u.reader.Entries)
}

func (u *userPosterior) parts(
	dense []float32, values []int32, weightedEntries []float32,
) (content, learned float32) {
	split := u.kernel.Dim() - u.kernel.LearnedDim
	content = u.sum.sparseDot(values, weightedEntries)
	if split > 0 {
		content += vek32.Dot(u.sum.weighted[:split], dense[:split])
	}
	learned = vek32.Dot(u.sum.weighted[split:], dense[split:])
	return content * u.kernel.Weights.Scale, learned * u.kernel.Weights.Scale
}
