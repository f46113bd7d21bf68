package examination

import (
	"math"

	"gonum.org/v1/gonum/mat"

	"relish/training/replay"
)

const (
	// maxLists bounds the lists that are read, the newest.
	maxLists = 200_000
	// maxPosition bounds the positions that are read. Impressions hold 100 items at most.
	maxPosition = 100
	// fittingRounds is enough for the effects to change by less than a thousandth a round.
	fittingRounds = 40
	// minEvidence is the log-likelihood ratio from which on positions explain clicks at all. Chance
	// reaches it in about one log of a hundred.
	minEvidence = 3.0
)

// Estimate is what a log says about its positions.
type Estimate struct {
	Curve    *Curve // nil if positions explain nothing
	Lists    int    // lists that the estimate is based on
	Explored int    // of these, lists that exploration reordered
	Clicks   int
	// Evidence is the log-likelihood that the curve gains over 1 everywhere.
	Evidence float64
}

// minClicks is the number of clicks below which a log does not tell its position bias.
const minClicks = 200

// Sufficient reports whether the log has enough clicks that can tell what positions explain. Lists
// that Relish ranked tell it only if they were explored.
func (e *Estimate) Sufficient() bool { return e.Clicks >= minClicks }

// FromLog estimates the examination of positions from the lists before a sequence.
func FromLog(log *replay.Log, before uint64) *Estimate {
	e := &estimator{items: map[int32]int{}}
	lists := log.Lists
	for len(lists) > 0 && lists[len(lists)-1].Seq >= before {
		lists = lists[:len(lists)-1]
	}
	for i := max(0, len(lists)-maxLists); i < len(lists); i++ {
		e.add(&lists[i])
	}
	out := &Estimate{Lists: e.lists, Explored: e.explored, Clicks: e.clicks}
	if e.clicks > 0 {
		e.fit()
		out.Curve, out.Evidence = e.shrink()
	}
	return out
}

// cell is one shown item.
type cell struct {
	item    int32 // index of its effect
	bin     uint8 // of the position
	base    uint8 // bin of the position before exploration, or unexplored
	clicked bool
}

// unexplored stands for the base of an item in a list that was not explored. Its effect stays 1.
const unexplored = uint8(bins)

// estimator fits clicks ~ Poisson(item effect x position effect x base effect). The estimates of a
// Poisson model with one factor for each item are consistent, however few clicks an item has.
type estimator struct {
	cells                   []cell
	items                   map[int32]int // item of the log -> index of its effect
	lists, explored, clicks int
	lastBin                 int // the last bin with a shown item

	item     []float64         // effects
	position [bins]float64     // effects
	base     [bins + 1]float64 // effects
}

func (e *estimator) add(list *replay.LoggedList) {
	if list.Model != "" && list.BasePositions == nil {
		return
	}
	e.lists++
	if list.BasePositions != nil {
		e.explored++
	}
	for position, item := range list.Items[:min(len(list.Items), maxPosition)] {
		index, known := e.items[item]
		if !known {
			index = len(e.items)
			e.items[item] = index
		}
		c := cell{
			item: int32(index), bin: uint8(binOf(position)), base: unexplored,
			clicked: list.Gains[position] > 0,
		}
		if list.BasePositions != nil {
			c.base = uint8(binOf(int(list.BasePositions[position])))
		}
		e.lastBin = max(e.lastBin, int(c.bin))
		if e.cells = append(e.cells, c); c.clicked {
			e.clicks++
		}
	}
}

// fit computes the effects by iterative proportional fitting, from 1 everywhere.
func (e *estimator) fit() {
	e.item = make([]float64, len(e.items))
	for i := range e.position {
		e.position[i], e.base[i] = 1, 1
	}
	e.base[unexplored] = 1
	for range fittingRounds {
		e.update(e.item, func(c *cell) int { return int(c.item) },
			func(c *cell) float64 { return e.position[c.bin] * e.base[c.base] })
		e.update(e.base[:unexplored], func(c *cell) int { return int(c.base) },
			func(c *cell) float64 { return e.item[c.item] * e.position[c.bin] })
		e.update(e.position[:], func(c *cell) int { return int(c.bin) },
			func(c *cell) float64 { return e.item[c.item] * e.base[c.base] })
	}
}

// update sets each effect to clicks / expected clicks without it. Half a click is added to both, so
// that no effect is 0.
func (e *estimator) update(
	effects []float64, index func(*cell) int, others func(*cell) float64,
) {
	const half = 0.5
	expected := make([]float64, len(effects))
	for i := range effects {
		effects[i], expected[i] = half, half
	}
	for k := range e.cells {
		c := &e.cells[k]
		i := index(c)
		if i >= len(effects) {
			continue
		}
		expected[i] += others(c)
		if c.clicked {
			effects[i]++
		}
	}
	for i := range effects {
		effects[i] /= expected[i]
	}
}

// information returns the Fisher information of the logarithms of the position effects, with the
// effects of items and bases profiled out. It is singular along equal changes of all positions.
func (e *estimator) information() *mat.SymDense {
	const size = 2 * bins // positions, then bases
	full := mat.NewSymDense(size, nil)
	byItem := make([][size]float64, len(e.items))
	for k := range e.cells {
		c := &e.cells[k]
		mu := e.item[c.item] * e.position[c.bin] * e.base[c.base]
		p := int(c.bin)
		full.SetSym(p, p, full.At(p, p)+mu)
		byItem[c.item][p] += mu
		if c.base == unexplored {
			continue
		}
		b := bins + int(c.base)
		full.SetSym(b, b, full.At(b, b)+mu)
		full.SetSym(p, b, full.At(p, b)+mu)
		byItem[c.item][b] += mu
	}
	for i := range byItem {
		total := 0.0
		for _, mu := range byItem[i][:bins] {
			total += mu
		}
		if total > 0 {
			row := mat.NewVecDense(size, byItem[i][:])
			full.SymRankOne(full, -1/total, row)
		}
	}
	// The Schur complement of the bases. The ridge makes unused and collinear bases harmless.
	const ridge = 1e-3
	bases := mat.NewSymDense(bins, nil)
	cross := mat.NewDense(bins, bins, nil)
	out := mat.NewSymDense(bins, nil)
	for i := range bins {
		for k := range bins {
			cross.Set(i, k, full.At(i, bins+k))
			if k >= i {
				bases.SetSym(i, k, full.At(bins+i, bins+k))
				out.SetSym(i, k, full.At(i, k))
			}
		}
		bases.SetSym(i, i, bases.At(i, i)+ridge)
	}
	var chol mat.Cholesky
	var solved, explained mat.Dense
	if chol.Factorize(bases) && chol.SolveTo(&solved, cross.T()) == nil {
		explained.Mul(cross, &solved)
		for i := range bins {
			for k := i; k < bins; k++ {
				out.SetSym(i, k, out.At(i, k)-(explained.At(i, k)+explained.At(k, i))/2)
			}
		}
	}
	return out
}

// shrink returns the curve whose logarithms are the posterior mean under a normal prior around
// equal positions. The prior's variance is the one that makes the estimates most likely (empirical
// Bayes). If equal positions are nearly as likely, the curve is nil.
func (e *estimator) shrink() (curve *Curve, evidence float64) {
	var eigen mat.EigenSym
	if !eigen.Factorize(e.information(), true) {
		return nil, 0
	}
	values := eigen.Values(nil)
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	estimate := mat.NewVecDense(bins, nil)
	for i, x := range e.position {
		estimate.SetVec(i, math.Log(x))
	}
	var rotated mat.VecDense
	rotated.MulVec(vectors.T(), estimate)
	isInformed := func(k int) bool { return values[k] > 1e-3 }
	logLikelihood := func(variance float64) (sum float64) {
		for k, information := range values {
			if isInformed(k) {
				v := 1/information + variance
				sum -= (math.Log(v) + rotated.AtVec(k)*rotated.AtVec(k)/v) / 2
			}
		}
		return sum
	}
	equal, best := logLikelihood(0), 0.0
	for variance := 1e-4; variance < 10; variance *= 1.5 {
		if x := logLikelihood(variance) - equal; x > evidence {
			evidence, best = x, variance
		}
	}
	if evidence < minEvidence {
		return nil, evidence
	}
	for k, information := range values {
		shrunk := 0.0
		if isInformed(k) {
			shrunk = rotated.AtVec(k) * information * best / (information*best + 1)
		}
		rotated.SetVec(k, shrunk)
	}
	estimate.MulVec(&vectors, &rotated)
	curve, top := &Curve{}, mat.Max(estimate)
	for i := range curve.bins {
		curve.bins[i] = max(MinExamination, math.Exp(estimate.AtVec(i)-top))
		if i > e.lastBin {
			curve.bins[i] = curve.bins[e.lastBin]
		}
	}
	return curve, evidence
}
