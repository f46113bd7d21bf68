package signals

import (
	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// UserPosterior says what a user's residuals tell of their preferences: a vector whose inner
// product with an item's vector is the posterior mean. It is not safe for concurrent use.
type UserPosterior struct {
	kernel  *ItemKernel
	dense   []float32 // times the weights of the dense part
	sparse  []float32 // by field value; zero except for touched
	touched []int32

	// Memory for an item that the kernel does not know.
	values                             []int32
	entries, norms, regressors, vector []float32
}

// NewPosterior returns a posterior without residuals. Set computes it; the memory is reused.
func (k *ItemKernel) NewPosterior() *UserPosterior {
	return &UserPosterior{
		kernel: k, dense: make([]float32, k.Dim()), sparse: make([]float32, len(k.ValueWeights)),
		norms: make([]float32, k.fieldCount()), vector: make([]float32, k.Dim()),
		regressors: make([]float32, len(k.Content.Weights)),
	}
}

func (u *UserPosterior) clear() {
	clear(u.dense)
	for _, v := range u.touched {
		u.sparse[v] = 0
	}
	u.touched = u.touched[:0]
}

// addItem adds an item's vector times s.
func (u *UserPosterior) addItem(item int32, s float32) {
	k := u.kernel
	addScaled(u.dense, k.DenseVector(item), s)
	entries := k.itemEntries(item)
	for j, v := range k.ItemValues(item) {
		if u.sparse[v] == 0 {
			u.touched = append(u.touched, v)
		}
		u.sparse[v] += s * entries[j]
	}
}

// sparseDot returns the weighted inner product with an item's sparse part.
func (u *UserPosterior) sparseDot(values []int32, entries []float32) (sum float32) {
	for j, v := range values {
		sum += u.sparse[v] * entries[j]
	}
	return sum * float32(u.kernel.Weights.Field)
}

// residualSteps bounds the conjugate gradient steps. A hundred shown items need about ten.
const residualSteps = 24

// Set computes the posterior of the residuals. With Q the diagonal matrix of the square roots of
// the precisions, X the items' vectors as rows, W their weights and r the residuals, it is
// W XᵀQ (I + Q X W XᵀQ)⁻¹ Q⁻¹ r.
func (u *UserPosterior) Set(residuals []Residual) {
	k := u.kernel
	n := len(residuals)
	memory := make([]float32, 2*n)
	roots, right := memory[:n:n], memory[n:]
	for i, r := range residuals {
		roots[i] = sqrt32(r.Precision)
		right[i] = r.Value / roots[i]
	}
	solution := conjugateGradient(right, residualSteps, func(p, out []float32) {
		u.sum(residuals, roots, p)
		for i, r := range residuals {
			out[i] = p[i] + roots[i]*(vek32.Dot(u.dense, k.DenseVector(r.Item))+
				u.sparseDot(k.ItemValues(r.Item), k.itemEntries(r.Item)))
		}
	})
	u.sum(residuals, roots, solution)
}

// sum sets u to the sum of the residuals' items, each times roots[i] x factors[i].
func (u *UserPosterior) sum(residuals []Residual, roots, factors []float32) {
	u.clear()
	for i, r := range residuals {
		u.addItem(r.Item, roots[i]*factors[i])
	}
	vek32.Mul_Inplace(u.dense, u.kernel.denseWeights)
}

// Mean returns the parts of an item's posterior mean, in log-odds: that of its content and that of
// its learned vector.
func (u *UserPosterior) Mean(item int32) (content, learned float32) {
	k := u.kernel
	return u.parts(k.DenseVector(item), k.ItemValues(item), k.itemEntries(item))
}

// newItemMean is Mean for an item that the kernel does not know, from its content.
func (u *UserPosterior) newItemMean(
	info *ranker.ItemInfo, vector []float32,
) (content, learned float32) {
	k := u.kernel
	u.values = FieldValueIndices(info, k.Content.Projection.FieldValues, u.values[:0])
	if len(u.entries) < len(u.values) {
		u.entries = make([]float32, len(u.values))
	}
	entries := u.entries[:len(u.values)]
	k.writeEntries(u.values, u.norms, entries)
	k.contentPart(info, vector, u.regressors, u.vector)
	k.PredictLearned(u.values, u.vector[k.Dim()-k.LearnedDim:])
	return u.parts(u.vector, u.values, entries)
}

func (u *UserPosterior) parts(
	dense []float32, values []int32, entries []float32,
) (content, learned float32) {
	k := u.kernel
	split := k.Dim() - k.LearnedDim
	content = u.sparseDot(values, entries)
	if split > 0 {
		content += vek32.Dot(u.dense[:split], dense[:split])
	}
	learned = vek32.Dot(u.dense[split:], dense[split:])
	return content * float32(k.Weights.Scale), learned * float32(k.Weights.Scale)
}
