package match

import (
	"math/rand/v2"

	"github.com/viterin/vek/vek32"
	"gonum.org/v1/gonum/mat"

	"relish/ranker/match"
)

// Of taste.
const (
	tasteDim    = 16
	tasteRounds = 12
	tasteUsers  = 50_000 // that the learned places are learned from, the newest
	tasteMemory = 200    // residuals per user, the newest
	fewShown    = 5      // shown less often, an item gets the place that its content predicts
)

// residual is what was left of one shown item.
type residual struct {
	item int32
	r    float64
}

// TrainTaste learns from what users did and did not click how alike items are; nil if no list tells.
func TrainTaste(c *Corpus, space *match.Space, seed uint64) (*match.Taste, error) {
	n, cd := c.Items.Len(), space.Dim()
	out := &match.Taste{Items: c.Items, Space: space, Dim: tasteDim, Places: make([]float32, n*cd), Learned: make([]float32, n*tasteDim)}
	out.Strength, _ = c.Strengths()
	for i := range n {
		if c.Infos[i] != nil {
			space.Place(c.Infos[i], c.Vectors[i], out.Places[i*cd:(i+1)*cd])
		}
	}
	users := residuals(c, out.Strength)
	if len(users) == 0 {
		return nil, nil
	}
	a := newAnalysis(out, users, rand.New(rand.NewPCG(seed, 0x7a57e)))
	for round := range tasteRounds {
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

// residuals are match.Taste's, of whole histories.
func residuals(c *Corpus, strength []float32) (users [][]residual) {
	for u := len(c.Users) - 1; u >= 0 && len(users) < tasteUsers; u-- {
		var all []residual
		for _, l := range c.Users[u].Lists {
			all = append(all, listResiduals(&l, strength)...)
		}
		if len(all) > tasteMemory {
			all = all[len(all)-tasteMemory:]
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
	level := match.Level(strength, items, clicks)
	out := make([]residual, len(items))
	for k, item := range items {
		out[k] = residual{item, -match.Chance(float64(strength[item]) + level)}
		if clicked[k] {
			out[k].r++
		}
	}
	return out
}

// analysis is a factor analysis with missing values by variational Bayes (Lim and Teh 2007; Ilin and Raiko 2010): a
// residual is the product of the item's place with the user's, plus noise. A user's place is standard normal; an
// item's is normal around what its content predicts (Agarwal and Chen, KDD 2009). All matrices are row-major.
type analysis struct {
	t         *match.Taste
	users     [][]residual
	ofItem    [][]seen    // by item
	place     [][]float64 // by item: posterior mean
	spread    [][]float64 // by item: posterior covariance, nil for an item without data
	user      [][]float64
	uspread   [][]float64
	predict   *mat.Dense // space.Dim() x tasteDim
	noise     float64
	tightness float64 // 1 over the variance of places around their prediction
}

// seen is one user's residual of an item.
type seen struct {
	user int32
	r    float64
}

func newAnalysis(t *match.Taste, users [][]residual, rng *rand.Rand) *analysis {
	n := t.Items.Len()
	a := &analysis{t: t, users: users, ofItem: make([][]seen, n), place: make([][]float64, n), spread: make([][]float64, n),
		user: make([][]float64, len(users)), uspread: make([][]float64, len(users)),
		predict: mat.NewDense(max(1, t.Space.Dim()), tasteDim, nil), noise: 0.15, tightness: 200}
	for u, list := range users {
		for _, x := range list {
			a.ofItem[x.item] = append(a.ofItem[x.item], seen{int32(u), x.r})
		}
	}
	for i := range n {
		a.place[i] = make([]float64, tasteDim)
		for d := range a.place[i] {
			a.place[i][d] = rng.NormFloat64() * 0.05
		}
	}
	return a
}

// round updates users, items and the prediction, in this order.
func (a *analysis) round() error {
	failed := make([]bool, len(a.users)+len(a.place))
	parallel(len(a.users), func(_, u int) { failed[u] = !a.solveUser(u) })
	parallel(len(a.place), func(_, i int) { failed[len(a.users)+i] = !a.solveItem(i) })
	for _, f := range failed {
		if f {
			return errNumeric
		}
	}
	return a.fitPrediction()
}

func (a *analysis) solveUser(u int) bool {
	g := newGaussian()
	for _, x := range a.users[u] {
		g.observe(a.place[x.item], a.spread[x.item], x.r)
	}
	a.user[u], a.uspread[u] = g.solve(a.noise, nil, 1)
	return a.user[u] != nil
}

func (a *analysis) solveItem(i int) bool {
	if len(a.ofItem[i]) < fewShown {
		a.place[i], a.spread[i] = a.prior(i), nil
		return true
	}
	g := newGaussian()
	for _, s := range a.ofItem[i] {
		g.observe(a.user[s.user], a.uspread[s.user], s.r)
	}
	a.place[i], a.spread[i] = g.solve(a.noise, a.prior(i), a.tightness)
	return a.place[i] != nil
}

// prior is the place that the item's content predicts.
func (a *analysis) prior(i int) []float64 {
	out := make([]float64, tasteDim)
	cd := a.t.Space.Dim()
	for c, x := range a.t.Places[i*cd : (i+1)*cd] {
		if x != 0 {
			for d := range out {
				out[d] += float64(x) * a.predict.At(c, d)
			}
		}
	}
	return out
}

// predictionRidge keeps the prediction of places from content small where few items tell.
const predictionRidge = 5

func (a *analysis) fitPrediction() error {
	cd := a.t.Space.Dim()
	if cd == 0 {
		return nil
	}
	gram, right := mat.NewSymDense(cd, nil), mat.NewDense(cd, tasteDim, nil)
	x := mat.NewVecDense(cd, nil)
	for i, place := range a.place {
		n := float64(len(a.ofItem[i]))
		if n < fewShown {
			continue
		}
		for c, v := range a.t.Places[i*cd : (i+1)*cd] {
			x.SetVec(c, float64(v))
		}
		w := n / (n + strengthPrior)
		gram.SymRankOne(gram, w, x)
		right.RankOne(right, w, x, mat.NewVecDense(tasteDim, place))
	}
	for c := range cd {
		gram.SetSym(c, c, gram.At(c, c)+predictionRidge)
	}
	var chol mat.Cholesky
	if !chol.Factorize(gram) {
		return errNumeric
	}
	return chol.SolveTo(a.predict, right)
}

func (a *analysis) fitVariances() {
	sums := make([]float64, len(a.users))
	parallel(len(a.users), func(_, u int) {
		m, spread := a.user[u], a.uspread[u]
		for _, x := range a.users[u] {
			f := a.place[x.item]
			e := x.r - dot(f, m)
			sums[u] += e*e + quadratic(spread, f) + quadratic(a.spread[x.item], m) + trace(spread, a.spread[x.item])
		}
	})
	sum, n := 0.0, 0.0
	for u, x := range sums { // in the order of users, so that rounding is the same each time
		sum += x
		n += float64(len(a.users[u]))
	}
	a.noise = sum / n
	around, items := 0.0, 0.0
	for i, place := range a.place {
		if a.spread[i] == nil {
			continue
		}
		for d, x := range a.prior(i) {
			around += (place[d]-x)*(place[d]-x) + a.spread[i][d*tasteDim+d]
		}
		items++
	}
	if items > 0 {
		a.tightness = tasteDim * items / around
	}
}

// finish writes what was learned.
func (a *analysis) finish() {
	for i, place := range a.place {
		for d, x := range place {
			a.t.Learned[i*tasteDim+d] = float32(x)
		}
	}
	cd := a.t.Space.Dim()
	a.t.FromText = make([]float32, tasteDim*cd)
	for c := range cd {
		for d := range tasteDim {
			a.t.FromText[d*cd+c] = float32(a.predict.At(c, d))
		}
	}
	a.t.LearnedNoise = a.noise
}

// gaussian gathers a normal posterior: what was observed, as precision and precision times mean in units of the noise.
type gaussian struct {
	precision []float64 // the lower triangle only
	right     []float64
}

func newGaussian() *gaussian {
	return &gaussian{make([]float64, tasteDim*tasteDim), make([]float64, tasteDim)}
}

// observe takes y = product with x plus noise, x having the covariance spread, nil for none.
func (g *gaussian) observe(x, spread []float64, y float64) {
	for d, xd := range x {
		g.right[d] += xd * y
		row := g.precision[d*tasteDim : d*tasteDim+d+1]
		for e := range row {
			row[e] += xd * x[e]
		}
		if spread != nil {
			for e, s := range spread[d*tasteDim : d*tasteDim+d+1] {
				row[e] += s
			}
		}
	}
}

// solve returns mean and covariance under noise of this variance and a prior around mean of this precision; nil if the
// numbers do not allow it. mean may be nil for zero.
func (g *gaussian) solve(noise float64, prior []float64, precision float64) (mean, spread []float64) {
	full := mat.NewSymDense(tasteDim, nil)
	right := mat.NewVecDense(tasteDim, nil)
	for d := range tasteDim {
		for e := range d + 1 {
			full.SetSym(d, e, g.precision[d*tasteDim+e]/noise)
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
	spread = make([]float64, tasteDim*tasteDim)
	for d := range tasteDim {
		for e := range tasteDim {
			spread[d*tasteDim+e] = inverse.At(d, e)
		}
	}
	return m.RawVector().Data, spread
}

func quadratic(a, x []float64) (sum float64) {
	if a == nil {
		return 0
	}
	for d, xd := range x {
		sum += xd * dot(a[d*tasteDim:(d+1)*tasteDim], x)
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
func contentNoise(t *match.Taste, users [][]residual) float64 {
	const last, enough = 24, 2000
	best, bestGain := 8.0, 0.0
	if t.Space.Dim() == 0 {
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
				items, y = append(items, x.item), append(y, float32(x.r))
			}
			direction := t.RegressContent(items, y)
			for _, x := range list[split:] {
				p := float64(vek32.Dot(direction, t.Places[int(x.item)*len(direction):(int(x.item)+1)*len(direction)]))
				gain += x.r*x.r - (x.r-p)*(x.r-p)
			}
		}
		if gain > bestGain {
			best, bestGain = noise, gain
		}
	}
	return best
}
