package signals

import (
	"context"
	"math"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// ResidualGP matches by what the user was shown lately, and did or did not click. Each shown item leaves a residual: 1 or 0
// for the click, less the chance of a click that the item's strength gave it among the items of its list. What is
// left over is taste, and is spread to the candidates by how alike the items are:
//
//	residual.learned   likeness as it was learned from all users' residuals (factor analysis; an item without enough of
//	                its own gets the place that its content predicts)
//	residual.content   likeness of texts and field values
//	residual.evidence  how much the residuals can tell: the sum of p (1 - p), log1p
//
// Both scores are the posterior mean of a Gaussian process over items (Rasmussen and Williams 2006, chapter 2), whose
// kernel is the product of the items' places; it is solved as a linear regression in the place's few dimensions.
// The columns are missing for a user whose shown items say nothing, and residual.content where no item has content.
type ResidualGP struct {
	Items            *ranker.ItemTable
	LogOdds          []float32 // by item: log-odds of a click, of an average list
	Content          *Projection
	ContentVectors   []float32 // items x Space.Dim(): by content
	Dim              int       // of the learned places
	LearnedVectors   []float32 // items x Dim
	ContentToLearned []float32 // Dim x Space.Dim(): predicts a learned place from the content
	// LearnedNoise and ContentNoise are the variances of a residual around what the places explain.
	LearnedNoise, ContentNoise float64
}

var _ TrainedSignal = (*ResidualGP)(nil)

// KindResidualGP is the kind of Taste's file.
const KindResidualGP = "residual"

// residualSteps are the steps of conjugate gradients; the residual is then a few thousandths.
const residualSteps = 8

var residualColumns = []string{"residual.learned", "residual.content", "residual.evidence"}

// Kind implements Learned.
func (*ResidualGP) Kind() string { return KindResidualGP }

// Columns implements ranker.Matcher.
func (*ResidualGP) Columns() []string { return residualColumns }

// Compute implements ranker.Matcher.
func (t *ResidualGP) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	n := in.ItemIndices(t.Items)
	items, residuals, evidence := t.Residuals(in.State.Shown, n.Shown)
	if len(items) == 0 {
		return nil
	}
	cd := t.Content.Dim()
	learned := solveRidge(t.LearnedVectors, t.Dim, items, residuals, float32(t.LearnedNoise))
	content := t.ContentWeights(items, residuals)
	known := float32(math.Log1p(evidence))
	place, predicted := make([]float32, cd), make([]float32, t.Dim)
	for i, item := range n.Candidates {
		row := out[3*i : 3*i+3]
		row[2] = known
		if item >= 0 {
			row[0] = vek32.Dot(learned, t.learnedVector(item))
			if cd > 0 {
				row[1] = vek32.Dot(content, t.contentVector(item))
			}
			continue
		}
		if t.Content.Project(in.State.Items[i], in.ItemVectors[i], place) {
			row[0] = vek32.Dot(learned, t.PredictLearned(place, predicted))
			row[1] = vek32.Dot(content, place)
		}
	}
	return nil
}

func (t *ResidualGP) learnedVector(item int32) []float32 {
	return t.LearnedVectors[int(item)*t.Dim : (int(item)+1)*t.Dim]
}

func (t *ResidualGP) contentVector(item int32) []float32 {
	d := t.Content.Dim()
	return t.ContentVectors[int(item)*d : (int(item)+1)*d]
}

// PredictLearned writes to out the learned place that a place by content predicts, and returns it.
func (t *ResidualGP) PredictLearned(place, out []float32) []float32 {
	for d := range out {
		out[d] = vek32.Dot(t.ContentToLearned[d*len(place):(d+1)*len(place)], place)
	}
	return out
}

// Residuals returns the residuals of the shown items that the table knows, and their evidence. numbers are the
// items'. Items shown at one time are one list; a list without a click, or with nothing else, tells nothing of taste.
func (t *ResidualGP) Residuals(shown []ranker.Shown, numbers []int32) (items []int32, residuals []float32, evidence float64) {
	for from := 0; from < len(shown); {
		to := from + 1
		for to < len(shown) && shown[to].Time == shown[from].Time {
			to++
		}
		items, residuals, evidence = t.listResiduals(shown[from:to], numbers[from:to], items, residuals, evidence)
		from = to
	}
	return items, residuals, evidence
}

func (t *ResidualGP) listResiduals(shown []ranker.Shown, numbers, items []int32, residuals []float32, evidence float64) ([]int32, []float32, float64) {
	first, clicks := len(items), 0
	for k := range shown {
		if numbers[k] < 0 {
			continue
		}
		items = append(items, numbers[k])
		r := float32(0)
		if shown[k].Clicked {
			r = 1
			clicks++
		}
		residuals = append(residuals, r)
	}
	if clicks == 0 || clicks == len(items)-first {
		return items[:first], residuals[:first], evidence
	}
	level := ListOffset(t.LogOdds, items[first:], clicks)
	for k, item := range items[first:] {
		p := Sigmoid(float64(t.LogOdds[item]) + level)
		residuals[first+k] -= float32(p)
		evidence += p * (1 - p)
	}
	return items, residuals, evidence
}

// Sigmoid is the probability of these log-odds.
func Sigmoid(logOdds float64) float64 { return 1 / (1 + math.Exp(-logOdds)) }

// ListOffset returns what to add to the strengths of a list's items so that their chances add up to the clicks,
// 0 < clicks < len(items), by Newton's method.
func ListOffset(strength []float32, items []int32, clicks int) float64 {
	level := 0.0
	for range 6 {
		sum, slope := 0.0, 1e-9
		for _, item := range items {
			p := Sigmoid(float64(strength[item]) + level)
			sum += p
			slope += p * (1 - p)
		}
		level += max(-2, min(2, (float64(clicks)-sum)/slope))
	}
	return level
}

// solveRidge solves (Z^T Z + noise I) w = Z^T y for the places Z of the items, by conjugate gradients.
func solveRidge(places []float32, dim int, items []int32, y []float32, noise float32) []float32 {
	at := func(k int) []float32 { return places[int(items[k])*dim : (int(items[k])+1)*dim] }
	right := make([]float32, dim)
	for k := range items {
		addScaled(right, at(k), y[k])
	}
	return conjugateGradient(right, residualSteps, func(p, out []float32) {
		for d := range out {
			out[d] = noise * p[d]
		}
		for k := range items {
			addScaled(out, at(k), vek32.Dot(at(k), p))
		}
	})
}

// ContentWeights returns the direction of taste that residuals y of items show by content alone, of length
// Space.Dim().
func (t *ResidualGP) ContentWeights(items []int32, y []float32) []float32 {
	return solveRidge(t.ContentVectors, t.Content.Dim(), items, y, float32(t.ContentNoise))
}

// Encode implements Learned.
func (t *ResidualGP) Encode() []byte {
	w := newFileWriter(KindResidualGP)
	w.strings(t.Items.IDs())
	w.floats(t.LogOdds)
	t.Content.encode(w)
	w.floats(t.ContentVectors)
	w.count(t.Dim)
	w.floats(t.LearnedVectors)
	w.floats(t.ContentToLearned)
	w.number(t.LearnedNoise)
	w.number(t.ContentNoise)
	return w.buf
}

func decodeResidualGP(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindResidualGP, data)
	t := &ResidualGP{Items: r.items(shared)}
	n := t.Items.Len()
	t.LogOdds, t.Content = r.floats(n), r.projection()
	t.ContentVectors, t.Dim = r.floats(n*t.Content.Dim()), r.dim()
	t.LearnedVectors, t.ContentToLearned = r.floats(n*t.Dim), r.floats(t.Dim*t.Content.Dim())
	t.LearnedNoise, t.ContentNoise = r.number(), r.number()
	if r.err == nil && (t.Dim < 1 || t.LearnedNoise <= 0 || t.ContentNoise <= 0) {
		return nil, nil, errMalformedFile
	}
	return t, t.Items, r.end()
}
