package signals

import (
	"math/rand/v2"

	"github.com/viterin/vek/vek32"
	"gonum.org/v1/gonum/mat"

	"relish/ranker/signals"
)

// Of taste.
const (
	learnedDim          = 16
	variationalRounds   = 12
	maxResidualUsers    = 50_000 // that the learned places are learned from, the newest
	maxResidualsPerUser = 200    // residuals per user, the newest
	minItemResiduals    = 5      // shown less often, an item gets the place that its content predicts
)

// residual is what was left of one shown item.
type residual struct {
	item  int32
	value float64
}

// TrainResidualGP learns from what users did and did not click how alike items are; nil if no list tells.
func TrainResidualGP(c *Corpus, space *signals.Projection, seed uint64) (*signals.ResidualGP, error) {
	n, cd := c.Items.Len(), space.Dim()
	out := &signals.ResidualGP{Items: c.Items, Content: space, Dim: learnedDim, ContentVectors: make([]float32, n*cd), LearnedVectors: make([]float32, n*learnedDim)}
	out.LogOdds, _ = c.ClickLogOdds()
	for i := range n {
		if c.ItemInfos[i] != nil {
			space.Project(c.ItemInfos[i], c.Vectors[i], out.ContentVectors[i*cd:(i+1)*cd])
		}
	}
	users := userResiduals(c, out.LogOdds)
	if len(users) == 0 {
		return nil, nil
	}
	a := newFactorAnalysis(out, users, rand.New(rand.NewPCG(seed, 0x7a57e)))
	for round := range variationalRounds {
		if err := a.round(); err != nil {
			return nil, err
		}
		if round%3 == 2 { // they move slowly, and cost as much as all else
			a.fitVariances()
		}
	}
	a.finish()
	out.ContentNoise = contentNoise(out, users)
	return out, nil
}

// userResiduals are match.Taste's, of whole histories.
func userResiduals(c *Corpus, strength []float32) (users [][]residual) {
	for u := len(c.Users) - 1; u >= 0 && len(users) < maxResidualUsers; u-- {
		var all []residual
		for _, l := range c.Users[u].Lists {
			all = append(all, listResiduals(&l, strength)...)
		}
		if len(all) > maxResidualsPerUser {
			all = all[len(all)-maxResidualsPerUser:]
		}
		if len(all) > 0 {
			users = append(users, all)
		}
	}
	return users
}

func listResiduals(l *List, strength []float32) []residual {
	var items []int32
	var clicked []bool
	clicks := 0
	for k, item := range l.Items {
		if item >= 0 {
			items, clicked = append(items, item), append(clicked, l.Gains[k] > 0)
			if l.Gains[k] > 0 {
				clicks++
			}
		}
	}
	if clicks == 0 || clicks == len(items) {
		return nil
	}
	level := signals.ListOffset(strength, items, clicks)
	out := make([]residual, len(items))
	for k, item := range items {
		out[k] = residual{item, -signals.Sigmoid(float64(strength[item]) + level)}
		if clicked[k] {
			out[k].value++
		}
	}
	return out
}

// factorAnalysis is a factor analysis with missing values by variational Bayes (Lim and Teh 2007; Ilin and Raiko 2010): a
// residual is the product of the item's place with the user's, plus noise. A user's place is standard normal; an
// item's is normal around what its content predicts (Agarwal and Chen, KDD 2009). All matrices are row-major.
type factorAnalysis struct {
	model            *signals.ResidualGP
	users            [][]residual
	byItem           [][]observation // by item
	itemMean         [][]float64     // by item: posterior mean
	itemCov          [][]float64     // by item: posterior covariance, nil for an item without data
	userMean         [][]float64
	userCov          [][]float64
	contentToLearned *mat.Dense // space.Dim() x tasteDim
	noise            float64
	priorPrecision   float64 // 1 over the variance of places around their prediction
}

// observation is one user's residual of an item.
type observation struct {
	user  int32
	value float64
}

func newFactorAnalysis(t *signals.ResidualGP, users [][]residual, rng *rand.Rand) *factorAnalysis {
	n := t.Items.Len()
	a := &factorAnalysis{model: t, users: users, byItem: make([][]observation, n), itemMean: make([][]float64, n), itemCov: make([][]float64, n),
		userMean: make([][]float64, len(users)), userCov: make([][]float64, len(users)),
		contentToLearned: mat.NewDense(max(1, t.Content.Dim()), learnedDim, nil), noise: 0.15, priorPrecision: 200}
	for u, list := range users {
		for _, x := range list {
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

// round updates users, items and the prediction, in this order.
func (a *factorAnalysis) round() error {
	failed := make([]bool, len(a.users)+len(a.itemMean))
	parallel(len(a.users), func(_, u int) { failed[u] = !a.solveUser(u) })
	parallel(len(a.itemMean), func(_, i int) { failed[len(a.users)+i] = !a.solveItem(i) })
	for _, f := range failed {
		if f {
			return errSingular
		}
	}
	return a.fitContentToLearned()
}

func (a *factorAnalysis) solveUser(u int) bool {
	g := newPosterior()
	for _, x := range a.users[u] {
		g.observe(a.itemMean[x.item], a.itemCov[x.item], x.value)
	}
	a.userMean[u], a.userCov[u] = g.solve(a.noise, nil, 1)
	return a.userMean[u] != nil
}

func (a *factorAnalysis) solveItem(i int) bool {
	if len(a.byItem[i]) < minItemResiduals {
		a.itemMean[i], a.itemCov[i] = a.contentMean(i), nil
		return true
	}
	g := newPosterior()
	for _, s := range a.byItem[i] {
		g.observe(a.userMean[s.user], a.userCov[s.user], s.value)
	}
	a.itemMean[i], a.itemCov[i] = g.solve(a.noise, a.contentMean(i), a.priorPrecision)
	return a.itemMean[i] != nil
}

// contentMean is the place that the item's content predicts.
func (a *factorAnalysis) contentMean(i int) []float64 {
	out := make([]float64, learnedDim)
	cd := a.model.Content.Dim()
	for c, x := range a.model.ContentVectors[i*cd : (i+1)*cd] {
		if x != 0 {
			for d := range out {
				out[d] += float64(x) * a.contentToLearned.At(c, d)
			}
		}
	}
	return out
}

// predictionRidge keeps the prediction of places from content small where few items tell.
const predictionRidge = 5

func (a *factorAnalysis) fitContentToLearned() error {
	cd := a.model.Content.Dim()
	if cd == 0 {
		return nil
	}
	gram, right := mat.NewSymDense(cd, nil), mat.NewDense(cd, learnedDim, nil)
	x := mat.NewVecDense(cd, nil)
	for i, place := range a.itemMean {
		n := float64(len(a.byItem[i]))
		if n < minItemResiduals {
			continue
		}
		for c, v := range a.model.ContentVectors[i*cd : (i+1)*cd] {
			x.SetVec(c, float64(v))
		}
		w := n / (n + clickRatePrior)
		gram.SymRankOne(gram, w, x)
		right.RankOne(right, w, x, mat.NewVecDense(learnedDim, place))
	}
	for c := range cd {
		gram.SetSym(c, c, gram.At(c, c)+predictionRidge)
	}
	var chol mat.Cholesky
	if !chol.Factorize(gram) {
		return errSingular
	}
	return chol.SolveTo(a.contentToLearned, right)
}

func (a *factorAnalysis) fitVariances() {
	sums := make([]float64, len(a.users))
	parallel(len(a.users), func(_, u int) {
		m, spread := a.userMean[u], a.userCov[u]
		for _, x := range a.users[u] {
			f := a.itemMean[x.item]
			e := x.value - dot(f, m)
			sums[u] += e*e + quadratic(spread, f) + quadratic(a.itemCov[x.item], m) + trace(spread, a.itemCov[x.item])
		}
	})
	sum, n := 0.0, 0.0
	for u, x := range sums { // in the order of users, so that rounding is the same each time
		sum += x
		n += float64(len(a.users[u]))
	}
	a.noise = sum / n
	around, items := 0.0, 0.0
	for i, place := range a.itemMean {
		if a.itemCov[i] == nil {
			continue
		}
		for d, x := range a.contentMean(i) {
			around += (place[d]-x)*(place[d]-x) + a.itemCov[i][d*learnedDim+d]
		}
		items++
	}
	if items > 0 {
		a.priorPrecision = learnedDim * items / around
	}
}

// finish writes what was learned.
func (a *factorAnalysis) finish() {
	for i, place := range a.itemMean {
		for d, x := range place {
			a.model.LearnedVectors[i*learnedDim+d] = float32(x)
		}
	}
	cd := a.model.Content.Dim()
	a.model.ContentToLearned = make([]float32, learnedDim*cd)
	for c := range cd {
		for d := range learnedDim {
			a.model.ContentToLearned[d*cd+c] = float32(a.contentToLearned.At(c, d))
		}
	}
	a.model.LearnedNoise = a.noise
}

// posterior gathers a normal posterior: what was observed, as precision and precision times mean in units of the noise.
type posterior struct {
	precision []float64 // the lower triangle only
	right     []float64
}

func newPosterior() *posterior {
	return &posterior{make([]float64, learnedDim*learnedDim), make([]float64, learnedDim)}
}

// observe takes y = product with x plus noise, x having the covariance spread, nil for none.
func (g *posterior) observe(x, spread []float64, y float64) {
	for d, xd := range x {
		g.right[d] += xd * y
		row := g.precision[d*learnedDim : d*learnedDim+d+1]
		for e := range row {
			row[e] += xd * x[e]
		}
		if spread != nil {
			for e, s := range spread[d*learnedDim : d*learnedDim+d+1] {
				row[e] += s
			}
		}
	}
}

// solve returns mean and covariance under noise of this variance and a prior around mean of this precision; nil if the
// numbers do not allow it. mean may be nil for zero.
func (g *posterior) solve(noise float64, prior []float64, precision float64) (mean, spread []float64) {
	full := mat.NewSymDense(learnedDim, nil)
	right := mat.NewVecDense(learnedDim, nil)
	for d := range learnedDim {
		for e := range d + 1 {
			full.SetSym(d, e, g.precision[d*learnedDim+e]/noise)
		}
		full.SetSym(d, d, full.At(d, d)+precision)
		right.SetVec(d, g.right[d]/noise)
		if prior != nil {
			right.SetVec(d, right.AtVec(d)+precision*prior[d])
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
	spread = make([]float64, learnedDim*learnedDim)
	for d := range learnedDim {
		for e := range learnedDim {
			spread[d*learnedDim+e] = inverse.At(d, e)
		}
	}
	return m.RawVector().Data, spread
}

func quadratic(a, x []float64) (sum float64) {
	if a == nil {
		return 0
	}
	for d, xd := range x {
		sum += xd * dot(a[d*learnedDim:(d+1)*learnedDim], x)
	}
	return sum
}

func trace(a, b []float64) float64 {
	if a == nil || b == nil {
		return 0
	}
	return dot(a, b) // both are symmetric
}

// contentNoise chooses how strongly residuals spread over content, by how well users' earlier residuals predict their
// last ones.
func contentNoise(t *signals.ResidualGP, users [][]residual) float64 {
	const last, enough = 24, 2000
	best, bestGain := 8.0, 0.0
	if t.Content.Dim() == 0 {
		return best
	}
	for _, noise := range []float64{1, 2, 4, 8, 16, 32, 64} {
		t.ContentNoise = noise
		gain := 0.0
		for _, list := range users[:min(len(users), enough)] {
			if len(list) <= last {
				continue
			}
			split := len(list) - last
			var items []int32
			var y []float32
			for _, x := range list[:split] {
				items, y = append(items, x.item), append(y, float32(x.value))
			}
			direction := t.ContentWeights(items, y)
			for _, x := range list[split:] {
				p := float64(vek32.Dot(direction, t.ContentVectors[int(x.item)*len(direction):(int(x.item)+1)*len(direction)]))
				gain += x.value*x.value - (x.value-p)*(x.value-p)
			}
		}
		if gain > bestGain {
			best, bestGain = noise, gain
		}
	}
	return best
}
