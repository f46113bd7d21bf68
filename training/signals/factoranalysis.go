package signals

import (
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

const (
	// learnedVariance is the variance of each number of an item's learned vector around the one
	// that the item's field values predict (Agarwal and Chen, KDD 2009).
	learnedVariance = 0.05
	// startNoise separates items whose content predicts nothing.
	startNoise = 0.1
)

// factorAnalysis fits item vectors to residuals by expectation maximization.
//
// A residual with the precision v is v times the inner product of the item's and the user's vector,
// plus noise of variance v. User vectors are standard normal. An item's vector is normal around
// the vector that its field values predict.
type factorAnalysis struct {
	dim       int
	users     [][]served.Residual
	byItem    [][]observation
	predicted [][]float64 // by item
	items     [][]float64 // by item: its vector
	means     [][]float64 // by user: posterior mean
	seconds   [][]float32 // by user: second moment of the posterior, dim x dim
}

// observation is one user's residual of an item.
type observation struct {
	user             int32
	value, precision float64
}

// fitLearnedVectors sets the learned vectors of the kernel.
func fitLearnedVectors(k *served.ItemKernel, users []userLists, seed uint64) error {
	n, rng := len(k.FirstValue)-1, rand.New(rand.NewPCG(seed, 0x7a57e))
	a := &factorAnalysis{
		dim: k.LearnedDim, byItem: make([][]observation, n),
		means: make([][]float64, len(users)), seconds: make([][]float32, len(users)),
	}
	for u, lists := range users {
		history := lists.residuals(0, maxResidualsPerUser)
		a.users = append(a.users, history)
		for _, x := range history {
			a.byItem[x.Item] = append(a.byItem[x.Item],
				observation{int32(u), float64(x.Value), float64(x.Precision)})
		}
	}
	predicted := make([]float32, a.dim)
	for i := range n {
		values := k.ItemValues(int32(i))
		k.PredictLearned(values, predicted)
		mean, start := make([]float64, a.dim), make([]float64, a.dim)
		for d, x := range predicted {
			mean[d], start[d] = float64(x), float64(x)
			if len(values) == 0 {
				start[d] = rng.NormFloat64() * startNoise
			}
		}
		a.predicted, a.items = append(a.predicted, mean), append(a.items, start)
	}
	for range factorRounds {
		if err := a.round(); err != nil {
			return err
		}
	}
	for i, vector := range a.items {
		out := k.LearnedVector(int32(i))
		for d, x := range vector {
			out[d] = float32(x)
		}
	}
	return nil
}

// round updates the users, then the items.
func (a *factorAnalysis) round() error {
	failed := make([]bool, len(a.users)+len(a.items))
	parallel.Each(len(a.users), func(u int) { failed[u] = !a.updateUser(u) })
	parallel.Each(len(a.items), func(i int) { failed[len(a.users)+i] = !a.updateItem(i) })
	for _, f := range failed {
		if f {
			return errSingular
		}
	}
	return nil
}

// updateUser reports whether the user's precision matrix has a factorization.
func (a *factorAnalysis) updateUser(u int) bool {
	p := newNormalEquations(a.dim, 1)
	for _, x := range a.users[u] {
		vector := a.items[x.Item]
		p.addOuter(vector, float64(x.Precision))
		addScaled(p.right, vector, float64(x.Value))
	}
	var inverse mat.SymDense
	mean, chol := p.solve()
	if mean == nil || chol.InverseTo(&inverse) != nil {
		return false
	}
	second := make([]float32, a.dim*a.dim)
	for d := range a.dim {
		for e := range a.dim {
			second[d*a.dim+e] = float32(inverse.At(d, e) + mean[d]*mean[e])
		}
	}
	a.means[u], a.seconds[u] = mean, second
	return true
}

// updateItem reports whether the item's precision matrix has a factorization.
func (a *factorAnalysis) updateItem(i int) bool {
	if len(a.byItem[i]) == 0 {
		a.items[i] = a.predicted[i]
		return true
	}
	p := newNormalEquations(a.dim, 1/learnedVariance)
	addScaled(p.right, a.predicted[i], 1/learnedVariance)
	for _, x := range a.byItem[i] {
		for j, s := range a.seconds[x.user] {
			p.matrix[j] += x.precision * float64(s)
		}
		addScaled(p.right, a.means[x.user], x.value)
	}
	vector, _ := p.solve()
	if vector != nil {
		a.items[i] = vector
	}
	return vector != nil
}

// normalEquations are a symmetric system of linear equations.
type normalEquations struct {
	dim    int
	matrix []float64 // dim x dim; the upper triangle is read
	right  []float64
}

// newNormalEquations returns equations whose matrix is diagonal.
func newNormalEquations(dim int, diagonal float64) *normalEquations {
	p := &normalEquations{dim, make([]float64, dim*dim), make([]float64, dim)}
	for d := range dim {
		p.matrix[d*dim+d] = diagonal
	}
	return p
}

// addOuter adds s x xᵀ to the upper triangle.
func (p *normalEquations) addOuter(x []float64, s float64) {
	for d, v := range x {
		addScaled(p.matrix[d*p.dim+d:(d+1)*p.dim], x[d:], s*v)
	}
}

// solve returns the solution, nil if the matrix is not positive definite.
func (p *normalEquations) solve() ([]float64, *mat.Cholesky) {
	var chol mat.Cholesky
	var solution mat.VecDense
	if !chol.Factorize(mat.NewSymDense(p.dim, p.matrix)) ||
		chol.SolveVecTo(&solution, mat.NewVecDense(p.dim, p.right)) != nil {
		return nil, nil
	}
	return solution.RawVector().Data, &chol
}

// addScaled adds s x to y, which has the same length.
func addScaled(y, x []float64, s float64) {
	for i, v := range x {
		y[i] += s * v
	}
}
