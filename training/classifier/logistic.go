package classifier

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/optimize"

	"relish/internal/parallel"
)

// settings of a logistic regression. Cross-validation chooses them.
type settings struct {
	cost     float64 // weight of the loss against the L2 penalty, as C of scikit-learn; above 0
	scale    float64 // length of the vector of word features; 0: no words
	balanced bool    // every label weighs the same, however many examples it has
	names    bool    // the name of each label is one more example
}

func (s settings) String() string {
	text := fmt.Sprintf("logistic regression (C %g)", s.cost)
	if s.scale > 0 {
		text += fmt.Sprintf(" on vectors and words (scale %g)", s.scale)
	} else {
		text += " on vectors"
	}
	if s.names {
		text += ", label names as examples"
	}
	if s.balanced {
		text += ", labels balanced"
	}
	return text
}

// weights are what a logistic regression learns: for each label, dim weights of the vector and a
// bias, and for each bucket a weight for each label.
type weights []float64

// Regularized logistic regression is strictly convex, so the limits of the optimizer decide about
// digits that do not matter.
const (
	maxIterations = 100
	lossTolerance = 1e-5 // relative; three iterations must each improve the loss by less
	lbfgsMemory   = 6    // gradients that the optimizer keeps
	chunks        = 8    // parts of the examples; sums are in their order, on any machine
)

// fit minimizes the multinomial logistic loss of the rows with an L2 penalty by L-BFGS (Nocedal
// 1980), see settings for the rows that it adds. start, if not nil, is where it begins; it is not
// changed.
func fit(ctx context.Context, d *data, rows []int, s settings, start weights) (weights, error) {
	if s.names {
		rows = slices.Concat(rows, d.names)
	}
	o := newObjective(d, rows, s)
	if start == nil {
		start = make(weights, o.size())
	}
	problem := optimize.Problem{
		Func:   func(x []float64) float64 { return o.at(x).loss },
		Grad:   func(grad, x []float64) { copy(grad, o.at(x).gradient) },
		Status: func() (optimize.Status, error) { return optimize.NotTerminated, ctx.Err() },
	}
	result, err := optimize.Minimize(problem, slices.Clone(start), &optimize.Settings{
		MajorIterations:   maxIterations,
		GradientThreshold: 1e-7,
		Converger:         &optimize.FunctionConverge{Relative: lossTolerance, Iterations: 3},
	}, &optimize.LBFGS{Store: lbfgsMemory})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if result == nil {
		return nil, fmt.Errorf("the logistic regression did not converge: %w", err)
	}
	// A line search that finds nothing better has converged to the precision of float32.
	return result.X, nil
}

// objective is the loss of a logistic regression. It keeps the last value, because the optimizer
// asks for loss and gradient one after the other.
type objective struct {
	*data
	rows    []int
	scale   float32
	penalty float64
	weight  []float32 // by row; their mean is 1

	last     []float64
	loss     float64
	gradient []float64
	parts    [chunks]part
}

// part is the contribution of one chunk of the rows.
type part struct {
	loss     float64
	gradient []float32
	scores   []float32 // rows of the chunk x labels
	vectors  []float32 // rows of the chunk x dim
}

func newObjective(d *data, rows []int, s settings) *objective {
	o := &objective{data: d, rows: rows, scale: float32(s.scale)}
	o.weight = make([]float32, len(rows))
	o.penalty = 1 / (s.cost * float64(len(rows)))
	counts := make([]float64, d.labels)
	for _, i := range rows {
		counts[d.label[i]]++
	}
	for k, i := range rows {
		o.weight[k] = 1
		if s.balanced {
			o.weight[k] = float32(float64(len(rows)) / (counts[d.label[i]] * float64(d.labels)))
		}
	}
	o.gradient = make([]float64, o.size())
	for c := range o.parts {
		from, to := o.chunk(c)
		p := part{gradient: make([]float32, o.size())}
		p.scores = make([]float32, (to-from)*d.labels)
		for _, i := range rows[from:to] {
			p.vectors = append(p.vectors, d.row(i)...)
		}
		o.parts[c] = p
	}
	return o
}

func (o *objective) chunk(c int) (from, to int) {
	return c * len(o.rows) / chunks, (c + 1) * len(o.rows) / chunks
}

// size returns the number of weights.
func (o *objective) size() int {
	if o.scale == 0 {
		return o.labels * (o.dim + 1)
	}
	return o.labels * (o.dim + 1 + o.buckets)
}

// at returns the objective with loss and gradient at x.
func (o *objective) at(x []float64) *objective {
	if o.last != nil && slices.Equal(o.last, x) {
		return o
	}
	o.last = append(o.last[:0], x...)
	theta := make([]float32, len(x))
	for i, v := range x {
		theta[i] = float32(v)
	}
	parallel.Each(chunks, func(c int) { o.compute(c, theta) })
	n := float64(len(o.rows))
	o.loss = 0
	for i, v := range x {
		sum := 0.0
		for c := range o.parts {
			sum += float64(o.parts[c].gradient[i])
		}
		o.gradient[i] = sum / n
		if !o.isBias(i) {
			o.gradient[i] += o.penalty * v
			o.loss += o.penalty * v * v / 2
		}
	}
	for c := range o.parts {
		o.loss += o.parts[c].loss / n
	}
	return o
}

// isBias reports whether a weight is a bias, which has no penalty.
func (o *objective) isBias(i int) bool {
	i -= o.labels * o.dim
	return i >= 0 && i < o.labels
}

// compute sets loss and gradient of one chunk.
func (o *objective) compute(c int, theta []float32) {
	from, to := o.chunk(c)
	p := &o.parts[c]
	p.loss = 0
	clear(p.gradient)
	if from == to {
		return
	}
	o.score(p.scores, p.vectors, o.rows[from:to], theta)
	bias := p.gradient[o.labels*o.dim : o.labels*(o.dim+1)]
	for k, i := range o.rows[from:to] {
		row := p.scores[k*o.labels : (k+1)*o.labels]
		p.loss += float64(o.weight[from+k]) * logLoss(row, o.label[i])
		for l := range row {
			row[l] *= o.weight[from+k]
			bias[l] += row[l]
		}
		o.eachWord(i, p.gradient, func(f float32, w []float32) {
			for l, r := range row {
				w[l] += f * r
			}
		})
	}
	blas32.Gemm(blas.Trans, blas.NoTrans, 1,
		general(to-from, o.labels, p.scores), general(to-from, o.dim, p.vectors),
		0, general(o.labels, o.dim, p.gradient[:o.labels*o.dim]))
}

// score writes the scores of the labels: rows x labels. vectors are those of the rows.
func (o *objective) score(scores, vectors []float32, rows []int, theta []float32) {
	blas32.Gemm(blas.NoTrans, blas.Trans, 1, general(len(rows), o.dim, vectors),
		general(o.labels, o.dim, theta[:o.labels*o.dim]), 0, general(len(rows), o.labels, scores))
	bias := theta[o.labels*o.dim : o.labels*(o.dim+1)]
	for k, i := range rows {
		row := scores[k*o.labels : (k+1)*o.labels]
		for l, b := range bias {
			row[l] += b
		}
		o.eachWord(i, theta, func(f float32, w []float32) {
			for l := range row {
				row[l] += f * w[l]
			}
		})
	}
}

// eachWord calls use with the scaled value of each word feature of an example, and the part of
// theta that belongs to its bucket.
func (o *objective) eachWord(i int, theta []float32, use func(value float32, w []float32)) {
	if o.scale == 0 {
		return
	}
	words := theta[o.labels*(o.dim+1):]
	for _, f := range o.words[i] {
		b := int(f.Bucket)
		use(f.Value*o.scale, words[b*o.labels:(b+1)*o.labels])
	}
}

// logLoss replaces scores by the gradient of the logistic loss, and returns the loss.
func logLoss(scores []float32, label int) float64 {
	top, sum := float64(slices.Max(scores)), 0.0
	loss := top - float64(scores[label])
	for l, s := range scores {
		e := math.Exp(float64(s) - top)
		scores[l] = float32(e)
		sum += e
	}
	for l := range scores {
		scores[l] /= float32(sum)
	}
	scores[label]--
	return loss + math.Log(sum)
}

func general(rows, cols int, data []float32) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: data}
}

// predict returns the scores of the rows: rows x labels.
func predict(d *data, rows []int, s settings, w weights) []float32 {
	o := &objective{data: d, scale: float32(s.scale)}
	theta := make([]float32, len(w))
	for i, v := range w {
		theta[i] = float32(v)
	}
	var vectors []float32
	for _, i := range rows {
		vectors = append(vectors, d.row(i)...)
	}
	scores := make([]float32, len(rows)*d.labels)
	if len(rows) > 0 {
		o.score(scores, vectors, rows, theta)
	}
	return scores
}
