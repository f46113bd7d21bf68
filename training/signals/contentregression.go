package signals

import (
	"math"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

// ContentVariances are the parameters of the content regression: the variances, in log-odds, of an
// item's popularity that each kind of content may explain, and PriorImpressions of ContentPrior.
type ContentVariances struct {
	Fields, Text, Numbers float64
	PriorImpressions      float64
}

// contentRegression predicts items' log-odds from their content. Effects are normal around 0 with
// the given variances.
type contentRegression struct {
	*contentDesign
	targets   *contentTargets
	variances ContentVariances
	scales    [3]float64 // standard deviation of an effect of a field value, of a number, of text
	rows      []int      // that are learned from
}

// contentTargets are what the regression predicts, by item.
type contentTargets struct {
	// Of a log with impressions: how often the item was clicked, per impression, and how often it
	// was shown; meanLogOdds are those of a click on any item.
	rates, shown []float64
	meanLogOdds  float64
	// Of a log without: the logarithm of the item's interactions.
	popularity []float64
}

const (
	newtonSteps    = 2    // of a regression that starts from a similar one
	startSteps     = 5    // of a regression that starts from zero
	gradientSteps  = 60   // conjugate gradient steps for each Newton step at most
	gradientGoal   = 1e-5 // share of the residual at which they end
	interceptScale = 1e3  // standard deviation of the intercept: it is hardly shrunk
	minProbability = 1e-3 // of a click, and of a missing click, for numerical stability
)

func newContentRegression(
	d *contentDesign, targets *contentTargets, v ContentVariances,
) *contentRegression {
	f := d.features
	return &contentRegression{
		contentDesign: d, targets: targets, variances: v,
		scales: [3]float64{
			math.Sqrt(v.Fields / float64(max(1, f.FieldCount))),
			math.Sqrt(v.Numbers / float64(max(1, len(f.Numbers)))), math.Sqrt(v.Text),
		},
	}
}

// coefficientCount returns the number of coefficients, which are standard normal.
func (r *contentRegression) coefficientCount() int {
	n := r.effect - (r.missing - r.knots)
	for _, basis := range r.numbers {
		_, kept := basis.vectors.Dims()
		n += kept
	}
	return n
}

// effects writes the effects of the coefficients, which are in the same order, to out.
func (r *contentRegression) effects(coefficients, out []float64) {
	for v := range r.knots {
		out[v] = r.scales[0] * coefficients[v]
	}
	rest := coefficients[r.knots:]
	for _, basis := range r.numbers {
		n, kept := basis.vectors.Dims()
		for k := range n {
			out[basis.firstKnot+k] = r.scales[1] * dot(basis.vectors.RawRowView(k), rest[:kept])
		}
		rest = rest[kept:]
	}
	r.scaleRest(rest, out[r.missing:])
}

// gradient writes the derivatives by the coefficients to out, given those by the effects.
func (r *contentRegression) gradient(byEffect, out []float64) {
	for v := range r.knots {
		out[v] = r.scales[0] * byEffect[v]
	}
	rest := out[r.knots:]
	for _, basis := range r.numbers {
		n, kept := basis.vectors.Dims()
		clear(rest[:kept])
		for k := range n {
			addScaled(rest[:kept], basis.vectors.RawRowView(k),
				r.scales[1]*byEffect[basis.firstKnot+k])
		}
		rest = rest[kept:]
	}
	r.scaleRest(byEffect[r.missing:], rest)
}

// scaleRest scales missing numbers, texts and the intercept.
func (r *contentRegression) scaleRest(in, out []float64) {
	numbers, last := r.text-r.missing, len(in)-1
	for j := range in {
		switch {
		case j < numbers:
			out[j] = r.scales[1] * in[j]
		case j < last:
			out[j] = r.scales[2] * in[j]
		default:
			out[j] = interceptScale * in[j]
		}
	}
}

// isKnown reports whether the log says anything about an item.
func (t *contentTargets) isKnown(item int) bool {
	return t.popularity != nil || t.shown[item] > 0
}

// observation returns the working response of a known item for the predicted log-odds, and its
// precision. The clicks of items with the same prediction have a beta-binomial distribution, so
// that shown impressions count as shown k / (shown + k), with k the prior impressions.
func (t *contentTargets) observation(
	item int, predicted, priorImpressions float64,
) (response, precision float64) {
	if t.popularity != nil {
		return t.popularity[item], 1
	}
	n := t.shown[item]
	p := served.Sigmoid(t.meanLogOdds + predicted)
	p = max(minProbability, min(1-minProbability, p))
	variance := p * (1 - p)
	response = predicted + (t.rates[item]-p)/variance
	return response, variance * n * priorImpressions / (n + priorImpressions)
}

// fit improves the coefficients by Newton steps (iteratively reweighted least squares, McCullagh
// and Nelder 1989).
func (r *contentRegression) fit(coefficients []float64, steps int) {
	effects, sums := make([]float64, r.effect), make([]float64, r.effect)
	precisions := make([]float64, len(r.rows))
	n := len(coefficients)
	right, diagonal := make([]float64, n), make([]float64, n)
	for range steps {
		r.effects(coefficients, effects)
		clear(sums)
		squares := make([]float64, r.effect)
		for k, row := range r.rows {
			predicted := r.dot(row, effects)
			response, precision := r.targets.observation(
				row, predicted, r.variances.PriorImpressions)
			precisions[k] = precision
			r.addRow(row, precision*(response-predicted), sums)
			r.addSquares(row, precision, squares)
		}
		r.gradient(sums, right)
		r.squareGradient(squares, diagonal)
		for j := range right {
			right[j] -= coefficients[j]
			diagonal[j]++
		}
		r.solve(precisions, right, diagonal, coefficients)
	}
}

// squareGradient writes the diagonal of the matrix of normal equations to out, without the
// products of neighboring knots. It is a preconditioner.
func (r *contentRegression) squareGradient(byEffect, out []float64) {
	scaled := *r
	for i, s := range r.scales {
		scaled.scales[i] = s * s
	}
	scaled.gradient(byEffect, out)
	out[len(out)-1] *= interceptScale
	rest := out[r.knots:]
	for _, basis := range r.numbers {
		n, kept := basis.vectors.Dims()
		clear(rest[:kept])
		for k := range n {
			for j, x := range basis.vectors.RawRowView(k) {
				rest[j] += scaled.scales[1] * x * x * byEffect[basis.firstKnot+k]
			}
		}
		rest = rest[kept:]
	}
}

// solve adds the solution of the normal equations to the coefficients, by conjugate gradients
// with a diagonal preconditioner. It overwrites right.
func (r *contentRegression) solve(precisions, right, diagonal, coefficients []float64) {
	n := len(right)
	direction, product, scaled := make([]float64, n), make([]float64, n), make([]float64, n)
	effects, sums := make([]float64, r.effect), make([]float64, r.effect)
	precondition := func() float64 {
		for j, x := range right {
			scaled[j] = x / diagonal[j]
		}
		return dot(right, scaled)
	}
	size := precondition()
	goal := size * gradientGoal * gradientGoal
	copy(direction, scaled)
	for range gradientSteps {
		if size <= goal || size < 1e-18 {
			return
		}
		r.effects(direction, effects)
		clear(sums)
		for k, row := range r.rows {
			r.addRow(row, precisions[k]*r.dot(row, effects), sums)
		}
		r.gradient(sums, product)
		addScaled(product, direction, 1)
		step := size / dot(direction, product)
		addScaled(coefficients, direction, step)
		addScaled(right, product, -step)
		before := size
		size = precondition()
		for j := range direction {
			direction[j] = scaled[j] + size/before*direction[j]
		}
	}
}

// outOfFold returns the coefficients of the given rows, and the prediction of each of their items
// by a regression without the items of its fold. start has the coefficients to start from, nil for
// none.
func (r *contentRegression) outOfFold(
	rows []int, foldOf []uint8, folds int, start []float64,
) (coefficients, predictions []float64) {
	all := *r
	all.rows = nil
	for _, row := range rows {
		if r.targets.isKnown(row) {
			all.rows = append(all.rows, row)
		}
	}
	steps := newtonSteps
	if coefficients = append(coefficients, start...); len(coefficients) == 0 {
		coefficients, steps = make([]float64, r.coefficientCount()), startSteps
	}
	all.fit(coefficients, steps)
	predictions = make([]float64, len(rows))
	parallel.Each(folds, func(fold int) {
		part := *r
		part.rows = nil
		for _, row := range all.rows {
			if int(foldOf[row])%folds != fold {
				part.rows = append(part.rows, row)
			}
		}
		own := append([]float64(nil), coefficients...)
		part.fit(own, newtonSteps)
		effects := make([]float64, r.effect)
		part.effects(own, effects)
		for k, row := range rows {
			if int(foldOf[row])%folds == fold {
				predictions[k] = r.dot(row, effects)
			}
		}
	})
	return coefficients, predictions
}
