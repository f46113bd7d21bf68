package signals

import (
	"context"
	"math"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// ResidualGP predicts a user's clicks from the lists that they were recently shown.
//
// Each shown item has a residual: 1 if it was clicked, else 0, minus the click probability that its
// popularity gave it among the items of its list. A Gaussian process over items (Rasmussen and
// Williams 2006, chapter 2) spreads the residuals to the candidates. Its kernel is the inner
// product of item vectors, so the posterior mean is a linear regression in a few dimensions.
//
// Columns, missing for a user whose lists carry no evidence:
//
//	residual.learned   posterior mean with item vectors learned from all users' residuals by
//	                   factor analysis; an item with too few residuals has the vector that its
//	                   content predicts
//	residual.content   posterior mean with vectors of text and field values; missing if the item
//	                   has no content
//	residual.evidence  log1p of the sum of p (1 - p) over the residuals
//
// It is read-only once built and safe for concurrent use.
type ResidualGP struct {
	Items            *ranker.ItemTable
	LogOdds          []float32   // by item: log-odds of a click in an average list
	Content          *Projection // item content -> content vector
	ContentVectors   []float32   // items x Content.Dim(), row-major
	Dim              int         // length of a learned vector
	LearnedVectors   []float32   // items x Dim, row-major
	ContentToLearned []float32   // Dim x Content.Dim(): content vector -> learned vector
	// LearnedNoise and ContentNoise are the residual variance that the vectors leave unexplained, >
	// 0.
	LearnedNoise, ContentNoise float64
}

var _ TrainedSignal = (*ResidualGP)(nil)

// KindResidualGP is the kind of ResidualGP in bundles.
const KindResidualGP = "residual"

// residualSteps is the number of conjugate gradient steps; the residual is then a few thousandths.
const residualSteps = 8

const residualContent = "residual.content"

var residualColumns = []string{"residual.learned", residualContent, "residual.evidence"}

// Kind implements TrainedSignal.
func (*ResidualGP) Kind() string { return KindResidualGP }

// Columns implements ranker.Signal.
func (*ResidualGP) Columns() []string { return residualColumns }

// Compute implements ranker.Signal.
func (g *ResidualGP) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	indices := in.ItemIndices(g.Items)
	items, residuals, evidence := g.Residuals(in.State.Shown, indices.Shown)
	if len(items) == 0 {
		return nil
	}
	cd := g.Content.Dim()
	learned := solveRidge(g.LearnedVectors, g.Dim, items, residuals, float32(g.LearnedNoise))
	content := g.ContentWeights(items, residuals)
	logEvidence := float32(math.Log1p(evidence))
	vector, predicted := make([]float32, cd), make([]float32, g.Dim)
	for i, item := range indices.Candidates {
		row := out[3*i : 3*i+3]
		row[2] = logEvidence
		if item >= 0 {
			row[0] = vek32.Dot(learned, g.learnedVector(item))
			if cd > 0 {
				row[1] = vek32.Dot(content, g.contentVector(item))
			}
			continue
		}
		if g.Content.Project(in.State.Items[i], in.ItemVectors[i], vector) {
			row[0] = vek32.Dot(learned, g.PredictLearned(vector, predicted))
			row[1] = vek32.Dot(content, vector)
		}
	}
	return nil
}

func (g *ResidualGP) learnedVector(item int32) []float32 {
	return g.LearnedVectors[int(item)*g.Dim : (int(item)+1)*g.Dim]
}

func (g *ResidualGP) contentVector(item int32) []float32 {
	d := g.Content.Dim()
	return g.ContentVectors[int(item)*d : (int(item)+1)*d]
}

// PredictLearned writes to out, which has length Dim, the learned vector that a content vector
// predicts, and returns it.
func (g *ResidualGP) PredictLearned(content, out []float32) []float32 {
	for d := range out {
		out[d] = vek32.Dot(g.ContentToLearned[d*len(content):(d+1)*len(content)], content)
	}
	return out
}

// Residuals returns the residuals of the shown items that the model knows, and their evidence, the
// sum of p (1 - p). indices holds the shown items' indices in Items, -1 for unknown ones.
//
// Items with the same time form one list. A list in which nothing or everything was clicked carries
// no evidence and is skipped.
func (g *ResidualGP) Residuals(
	shown []ranker.Shown, indices []int32,
) (items []int32, residuals []float32, evidence float64) {
	for from := 0; from < len(shown); {
		to := from + 1
		for to < len(shown) && shown[to].Time == shown[from].Time {
			to++
		}
		items, residuals, evidence = g.listResiduals(
			shown[from:to], indices[from:to], items, residuals, evidence)
		from = to
	}
	return items, residuals, evidence
}

// listResiduals appends the residuals of one list.
func (g *ResidualGP) listResiduals(
	shown []ranker.Shown, indices, items []int32, residuals []float32, evidence float64,
) ([]int32, []float32, float64) {
	first, clicks := len(items), 0
	for k := range shown {
		if indices[k] < 0 {
			continue
		}
		items = append(items, indices[k])
		y := float32(0)
		if shown[k].Clicked {
			y = 1
			clicks++
		}
		residuals = append(residuals, y)
	}
	if clicks == 0 || clicks == len(items)-first {
		return items[:first], residuals[:first], evidence
	}
	offset := ListOffset(g.LogOdds, items[first:], clicks)
	for k, item := range items[first:] {
		p := Sigmoid(float64(g.LogOdds[item]) + offset)
		residuals[first+k] -= float32(p)
		evidence += p * (1 - p)
	}
	return items, residuals, evidence
}

// Sigmoid returns the probability of the given log-odds.
func Sigmoid(logOdds float64) float64 { return 1 / (1 + math.Exp(-logOdds)) }

// ListOffset returns the constant that, added to the items' log-odds, makes their click
// probabilities sum to the list's clicks. It needs 0 < clicks < len(items). It takes six Newton
// steps, each clamped to ±2.
func ListOffset(logOdds []float32, items []int32, clicks int) float64 {
	offset := 0.0
	for range 6 {
		sum, slope := 0.0, 1e-9
		for _, item := range items {
			p := Sigmoid(float64(logOdds[item]) + offset)
			sum += p
			slope += p * (1 - p)
		}
		offset += max(-2, min(2, (float64(clicks)-sum)/slope))
	}
	return offset
}

// ContentWeights returns the regression weights of residuals y of items by their content vectors,
// of length Content.Dim(). Their inner product with a content vector is the posterior mean.
func (g *ResidualGP) ContentWeights(items []int32, y []float32) []float32 {
	return solveRidge(g.ContentVectors, g.Content.Dim(), items, y, float32(g.ContentNoise))
}

// solveRidge solves (Z^T Z + noise I) w = Z^T y for w by conjugate gradients. Z has the items'
// vectors as rows.
func solveRidge(vectors []float32, dim int, items []int32, y []float32, noise float32) []float32 {
	row := func(k int) []float32 {
		return vectors[int(items[k])*dim : (int(items[k])+1)*dim]
	}
	b := make([]float32, dim)
	for k := range items {
		addScaled(b, row(k), y[k])
	}
	return conjugateGradient(b, residualSteps, func(p, out []float32) {
		for d := range out {
			out[d] = noise * p[d]
		}
		for k := range items {
			addScaled(out, row(k), vek32.Dot(row(k), p))
		}
	})
}

// Encode implements TrainedSignal.
func (g *ResidualGP) Encode() []byte {
	w := newFileWriter(KindResidualGP)
	w.strings(g.Items.IDs())
	w.floats(g.LogOdds)
	g.Content.encode(w)
	w.floats(g.ContentVectors)
	w.count(g.Dim)
	w.floats(g.LearnedVectors)
	w.floats(g.ContentToLearned)
	w.number(g.LearnedNoise)
	w.number(g.ContentNoise)
	return w.buf
}

func decodeResidualGP(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindResidualGP, data)
	g := &ResidualGP{Items: r.items(shared)}
	n := g.Items.Len()
	g.LogOdds, g.Content = r.floats(n), r.projection()
	g.ContentVectors, g.Dim = r.floats(n*g.Content.Dim()), r.dim()
	g.LearnedVectors, g.ContentToLearned = r.floats(n*g.Dim), r.floats(g.Dim*g.Content.Dim())
	g.LearnedNoise, g.ContentNoise = r.number(), r.number()
	if r.err == nil && (g.Dim < 1 || g.LearnedNoise <= 0 || g.ContentNoise <= 0) {
		return nil, nil, malformed(
			"dimension %d, noise %g and %g",
			g.Dim,
			g.LearnedNoise,
			g.ContentNoise,
		)
	}
	return g, g.Items, r.end()
}
