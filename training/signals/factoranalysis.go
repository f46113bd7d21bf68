package signals

import (
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

// factorAnalysis fits item vectors to residuals by variational Bayes with missing values (Lim et
// al. 2007; Ilin and Raiko 2010).
//
// A residual is the inner product of an item vector and a user vector, plus noise. User vectors are
// standard normal. An item vector is normal around the vector that the item's content predicts
// (Agarwal and Chen, KDD 2009). All matrices are row-major.
type factorAnalysis struct {
	model            *served.ResidualGP // its content vectors are read; writeModel sets the rest
	users            [][]residual
	byItem           [][]observation
	itemMean         [][]float64
	itemCov          [][]float64 // nil for an item with too few residuals
	userMean         [][]float64
	userCov          [][]float64
	contentToLearned *mat.Dense // content dim x learnedDim
	noise            float64    // variance of a residual
	priorPrecision   float64    // 1 / variance of item vectors around their prediction
}

// observation is one user's residual of an item.
type observation struct {
	user  int32
	value float64
}

func newFactorAnalysis(gp *served.ResidualGP, users [][]residual, rng *rand.Rand) *factorAnalysis {
	n := gp.Items.Len()
	a := &factorAnalysis{
		model: gp, users: users, byItem: make([][]observation, n),
		itemMean: make([][]float64, n), itemCov: make([][]float64, n),
		userMean: make([][]float64, len(users)), userCov: make([][]float64, len(users)),
		contentToLearned: mat.NewDense(max(1, gp.Content.Dim()), learnedDim, nil),
		noise:            0.15, priorPrecision: 200,
	}
	for u, history := range users {
		for _, x := range history {
			a.byItem[x.item] = append(a.byItem[x.item], observation{int32(u), x.value})
		}
	}
	for i := range n {
		a.itemMean[i] = make([]float64, learnedDim)
		for d := range a.itemMean[i] {
			a.itemMean[i][d] = rng.NormFloat64() * 0.05
		}
	}
	return a
}

// round updates the users, then the items, then the prediction from content.
func (a *factorAnalysis) round() error {
	failed := make([]bool, len(a.users)+len(a.itemMean))
	parallel.Each(len(a.users), func(u int) { failed[u] = !a.updateUser(u) })
	parallel.Each(len(a.itemMean), func(i int) { failed[len(a.users)+i] = !a.updateItem(i) })
	for _, f := range failed {
		if f {
			return errSingular
		}
	}
	return a.fitContentToLearned()
}

func (a *factorAnalysis) updateUser(u int) (ok bool) {
	p := newPosterior()
	for _, x := range a.users[u] {
		p.observe(a.itemMean[x.item], a.itemCov[x.item], x.value)
	}
	a.userMean[u], a.userCov[u] = p.solve(a.noise, nil, 1)
	return a.userMean[u] != nil
}

func (a *factorAnalysis) updateItem(i int) (ok bool) {
	if len(a.byItem[i]) < minItemResiduals {
		a.itemMean[i], a.itemCov[i] = a.contentMean(i), nil
		return true
	}
	p := newPosterior()
	for _, x := range a.byItem[i] {
		p.observe(a.userMean[x.user], a.userCov[x.user], x.value)
	}
	a.itemMean[i], a.itemCov[i] = p.solve(a.noise, a.contentMean(i), a.priorPrecision)
	return a.itemMean[i] != nil
}

// contentVector returns an item's content vector.
func (a *factorAnalysis) contentVector(i int) []float32 {
	dim := a.model.Content.Dim()
	return a.model.ContentVectors[i*dim : (i+1)*dim]
}

// contentMean returns the item vector that the item's content predicts.
func (a *factorAnalysis) contentMean(i int) []float64 {
	out := make([]float64, learnedDim)
	for c, x := range a.contentVector(i) {
		if x != 0 {
			for d := range out {
				out[d] += float64(x) * a.contentToLearned.At(c, d)
			}
		}
	}
	return out
}

// predictionRidge keeps the prediction from content small if few items support it.
const predictionRidge = 5

// fitContentToLearned fits the prediction of item vectors from content by ridge regression.
func (a *factorAnalysis) fitContentToLearned() error {
	dim := a.model.Content.Dim()
	if dim == 0 {
		return nil
	}
	gram, right := mat.NewSymDense(dim, nil), mat.NewDense(dim, learnedDim, nil)
	x := mat.NewVecDense(dim, nil)
	for i, mean := range a.itemMean {
		n := float64(len(a.byItem[i]))
		if n < minItemResiduals {
			continue
		}
		for c, v := range a.contentVector(i) {
			x.SetVec(c, float64(v))
		}
		weight := n / (n + clickRatePrior)
		gram.SymRankOne(gram, weight, x)
		right.RankOne(right, weight, x, mat.NewVecDense(learnedDim, mean))
	}
	for c := range dim {
		gram.SetSym(c, c, gram.At(c, c)+predictionRidge)
	}
	var chol mat.Cholesky
	if !chol.Factorize(gram) {
		return errSingular
	}
	return chol.SolveTo(a.contentToLearned, right)
}

// fitVariances fits the noise and the variance of item vectors around their prediction.
func (a *factorAnalysis) fitVariances() {
	sums := make([]float64, len(a.users))
	parallel.Each(len(a.users), func(u int) {
		mean, cov := a.userMean[u], a.userCov[u]
		for _, x := range a.users[u] {
			itemMean, itemCov := a.itemMean[x.item], a.itemCov[x.item]
			e := x.value - dot(itemMean, mean)
			sums[u] += e*e + quadratic(
				cov,
				itemMean,
			) + quadratic(
				itemCov,
				mean,
			) + traceProduct(
				cov,
				itemCov,
			)
		}
	})
	sum, n := 0.0, 0.0
	for u, x := range sums { // in a fixed order, so that rounding is repeatable
		sum += x
		n += float64(len(a.users[u]))
	}
	a.noise = sum / n
	squares, items := 0.0, 0.0
	for i, mean := range a.itemMean {
		if a.itemCov[i] == nil {
			continue
		}
		for d, x := range a.contentMean(i) {
			squares += (mean[d]-x)*(mean[d]-x) + a.itemCov[i][d*learnedDim+d]
		}
		items++
	}
	if items > 0 {
		a.priorPrecision = learnedDim * items / squares
	}
}

// writeModel writes the result to the model.
func (a *factorAnalysis) writeModel() {
	for i, mean := range a.itemMean {
		for d, x := range mean {
			a.model.LearnedVectors[i*learnedDim+d] = float32(x)
		}
	}
	dim := a.model.Content.Dim()
	a.model.ContentToLearned = make([]float32, learnedDim*dim)
	for c := range dim {
		for d := range learnedDim {
			a.model.ContentToLearned[d*dim+c] = float32(a.contentToLearned.At(c, d))
		}
	}
	a.model.LearnedNoise = a.noise
}

// posterior collects the observations of a normal posterior over one vector of length learnedDim.
// Both fields are in units of 1 / noise.
type posterior struct {
	precision []float64 // learnedDim x learnedDim, the lower triangle only
	weighted  []float64 // precision times mean
}

func newPosterior() *posterior {
	return &posterior{make([]float64, learnedDim*learnedDim), make([]float64, learnedDim)}
}

// observe adds the observation value = <vector, x> + noise, where x has the covariance cov, nil for
// none.
func (p *posterior) observe(x, cov []float64, value float64) {
	for d, xd := range x {
		p.weighted[d] += xd * value
		row := p.precision[d*learnedDim : d*learnedDim+d+1]
		for e := range row {
			row[e] += xd * x[e]
		}
		if cov != nil {
			for e, s := range cov[d*learnedDim : d*learnedDim+d+1] {
				row[e] += s
			}
		}
	}
}

// solve returns the mean and the covariance, given the noise variance and a normal prior with this
// mean (nil for zero) and precision. It returns nil if the precision matrix is not positive
// definite.
func (p *posterior) solve(
	noise float64,
	priorMean []float64,
	priorPrecision float64,
) (mean, cov []float64) {
	full := mat.NewSymDense(learnedDim, nil)
	right := mat.NewVecDense(learnedDim, nil)
	for d := range learnedDim {
		for e := range d + 1 {
			full.SetSym(d, e, p.precision[d*learnedDim+e]/noise)
		}
		full.SetSym(d, d, full.At(d, d)+priorPrecision)
		right.SetVec(d, p.weighted[d]/noise)
		if priorMean != nil {
			right.SetVec(d, right.AtVec(d)+priorPrecision*priorMean[d])
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(full) {
		return nil, nil
	}
	var m mat.VecDense
	var inverse mat.SymDense
	if chol.SolveVecTo(&m, right) != nil || chol.InverseTo(&inverse) != nil {
		return nil, nil
	}
	cov = make([]float64, learnedDim*learnedDim)
	for d := range learnedDim {
		for e := range learnedDim {
			cov[d*learnedDim+e] = inverse.At(d, e)
		}
	}
	return m.RawVector().Data, cov
}

// quadratic returns xᵀ A x, 0 for a nil A.
func quadratic(a, x []float64) (sum float64) {
	if a == nil {
		return 0
	}
	for d, xd := range x {
		sum += xd * dot(a[d*learnedDim:(d+1)*learnedDim], x)
	}
	return sum
}

// traceProduct returns the trace of A B for symmetric A and B, 0 if either is nil.
func traceProduct(a, b []float64) float64 {
	if a == nil || b == nil {
		return 0
	}
	return dot(a, b)
}
