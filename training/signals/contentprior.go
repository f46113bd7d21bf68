package signals

import (
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"relish/ranker"
	served "relish/ranker/signals"
)

const (
	// clickRatePrior is the number of impressions that smooth an item's click rate.
	clickRatePrior = 10
	// contentRidge is the ridge penalty of the content regression, in units of item weights.
	contentRidge = 20
)

// ClickLogOdds returns the smoothed log-odds of a click by item, relative to all items, and how
// many impressions each is based on.
//
// For a corpus without lists it returns log1p of the interactions minus the mean over all items;
// all items then have the same weight.
func (c *Corpus) ClickLogOdds() (logOdds []float32, weight []float64) {
	counts, rate := c.clickCounts(true)
	n := len(counts)
	if rate == 0 {
		return c.popularityLogOdds()
	}
	logOdds, weight = make([]float32, n), make([]float64, n)
	for i, x := range counts {
		smoothed := (x.Actions + clickRatePrior*rate) / (x.Shown + clickRatePrior)
		logOdds[i] = float32(logOddsOf(smoothed) - logOddsOf(rate))
		weight[i] = x.Shown
	}
	return logOdds, weight
}

func logOddsOf(p float64) float64 { return math.Log(p / (1 - p)) }

// clickCounts returns how often each item was shown and clicked, and the smoothed click rate over
// all items, 0 for a corpus without lists. corrected counts an impression as how likely users
// looked at its position; else the counts are those that a server has.
func (c *Corpus) clickCounts(corrected bool) (counts []ranker.ItemCounts, rate float64) {
	counts = make([]ranker.ItemCounts, c.Items.Len())
	clicks, shown := 0.0, 0.0
	for i := range c.Users {
		for _, l := range c.Users[i].Lists {
			for k, item := range l.Items {
				if item < 0 {
					continue
				}
				x := 1.0
				if corrected {
					x = c.Examination.Examination(k)
				}
				counts[item].Shown += x
				shown += x
				if l.Gains[k] > 0 {
					counts[item].Actions++
					clicks++
				}
			}
		}
	}
	if shown == 0 {
		return counts, 0
	}
	return counts, (clicks + 1) / (shown + 2)
}

func (c *Corpus) popularityLogOdds() (logOdds []float32, weight []float64) {
	counts := c.interactionCounts()
	logOdds, weight = make([]float32, len(counts)), make([]float64, len(counts))
	mean := 0.0
	for _, n := range counts {
		mean += math.Log1p(n) / float64(max(1, len(counts)))
	}
	for i, n := range counts {
		logOdds[i], weight[i] = float32(math.Log1p(n)-mean), clickRatePrior
	}
	return logOdds, weight
}

// TrainContentPrior fits a ridge regression that predicts an item's click log-odds from its
// content. An item's weight grows with its impressions. It returns nil if no item has content.
func TrainContentPrior(c *Corpus, projection *served.Projection) (*served.ContentPrior, error) {
	out, err := fitContentPrior(c, projection)
	if err != nil || len(out.Weights) == 0 {
		return nil, err
	}
	return out, nil
}

// fitContentPrior is TrainContentPrior. Without any content, the result predicts the same for all
// items.
func fitContentPrior(c *Corpus, projection *served.Projection) (*served.ContentPrior, error) {
	out := &served.ContentPrior{
		Items: c.Items, Projection: projection, LeaveOneOut: make([]float32, c.Items.Len()),
	}
	c.fitNumericFields(out)
	dim := out.RegressorCount()
	r := newContentRegression(c, out)
	chol, weights, err := r.solve()
	if err != nil {
		return nil, err
	}
	out.Weights = make([]float32, dim)
	for d := range dim {
		out.Weights[d] = float32(weights.AtVec(d))
	}
	out.Intercept = weights.AtVec(dim)
	if err := r.leaveOneOut(chol, weights); err != nil {
		return nil, err
	}
	counts, rate := c.clickCounts(false)
	if rate > 0 {
		out.MeanLogOdds = logOddsOf(rate)
		fitPriorImpressions(out, counts)
	}
	return out, nil
}

// contentRegression is the weighted ridge regression of items' click log-odds on their content.
type contentRegression struct {
	corpus  *Corpus
	prior   *served.ContentPrior
	logOdds []float32
	shown   []float64     // by item: impressions
	row     []float32     // regressors of the loaded item
	x       *mat.VecDense // the same, and last the intercept
}

func newContentRegression(c *Corpus, prior *served.ContentPrior) *contentRegression {
	dim := prior.RegressorCount()
	r := &contentRegression{
		corpus: c, prior: prior, row: make([]float32, dim), x: mat.NewVecDense(dim+1, nil),
	}
	r.logOdds, r.shown = c.ClickLogOdds()
	return r
}

// load sets x to the regressors of an item and returns the item's weight.
func (r *contentRegression) load(item int) (weight float64) {
	clear(r.row)
	if info := r.corpus.ItemInfos[item]; info != nil {
		r.prior.Regressors(info, r.corpus.Vectors[item], r.row)
	}
	for d, v := range r.row {
		r.x.SetVec(d, float64(v))
	}
	r.x.SetVec(len(r.row), 1)
	return r.shown[item] / (r.shown[item] + clickRatePrior)
}

// solve returns the weights, the intercept last, and the factorization that gave them.
func (r *contentRegression) solve() (*mat.Cholesky, *mat.VecDense, error) {
	dim := len(r.row)
	gram, right := mat.NewSymDense(dim+1, nil), mat.NewVecDense(dim+1, nil)
	for i := range r.logOdds {
		if w := r.load(i); w > 0 {
			gram.SymRankOne(gram, w, r.x)
			right.AddScaledVec(right, w*float64(r.logOdds[i]), r.x)
		}
	}
	for d := range dim { // the intercept is not shrunk
		gram.SetSym(d, d, gram.At(d, d)+contentRidge)
	}
	gram.SetSym(dim, dim, gram.At(dim, dim)+1e-6)
	var chol mat.Cholesky
	if !chol.Factorize(gram) {
		return nil, nil, errSingular
	}
	var weights mat.VecDense
	if err := chol.SolveVecTo(&weights, right); err != nil {
		return nil, nil, errors.Join(errSingular, err)
	}
	return &chol, &weights, nil
}

// leaveOneOut sets, for each item, the prediction that the regression without the item gives.
func (r *contentRegression) leaveOneOut(chol *mat.Cholesky, weights *mat.VecDense) error {
	var solved mat.VecDense
	for i := range r.logOdds {
		w := r.load(i)
		p := mat.Dot(r.x, weights)
		if w > 0 {
			if err := chol.SolveVecTo(&solved, r.x); err != nil {
				return errors.Join(errSingular, err)
			}
			h := w * mat.Dot(r.x, &solved) // the item's leverage
			p = (p - h*float64(r.logOdds[i])) / (1 - h)
		}
		r.prior.LeaveOneOut[i] = float32(p)
	}
	return nil
}

// fitPriorImpressions sets how many impressions the prediction counts as. It maximizes the
// likelihood of the items' clicks if an item's click rate has a beta distribution around the
// prediction.
func fitPriorImpressions(out *served.ContentPrior, counts []ranker.ItemCounts) {
	logGamma := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
	best := math.Inf(-1)
	for _, k := range []float64{2, 4, 8, 12, 16, 20, 30, 40, 60, 100, 200} {
		sum := 0.0
		for i, n := range counts {
			p := served.Sigmoid(out.MeanLogOdds + float64(out.LeaveOneOut[i]))
			a, b, missed := k*p, k*(1-p), n.Shown-n.Actions
			sum += logGamma(a+n.Actions) - logGamma(a) + logGamma(b+missed) - logGamma(b) +
				logGamma(k) - logGamma(k+n.Shown)
		}
		if sum > best {
			best, out.PriorImpressions = sum, k
		}
	}
}

// fitNumericFields sets the numeric fields of out with their mean and standard deviation.
func (c *Corpus) fitNumericFields(out *served.ContentPrior) {
	count, sum, squares := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, info := range c.ItemInfos {
		if info == nil {
			continue
		}
		for name, v := range info.Fields {
			if v.Kind != ranker.Number && v.Kind != ranker.Bool {
				continue
			}
			x := float64(served.SignedLog1p(v.Num))
			count[name]++
			sum[name] += x
			squares[name] += x * x
		}
	}
	for name := range count {
		out.NumericFields = append(out.NumericFields, name)
	}
	slices.Sort(out.NumericFields)
	for _, name := range out.NumericFields {
		mean := sum[name] / count[name]
		sd := math.Sqrt(max(1e-6, squares[name]/count[name]-mean*mean))
		out.Means = append(out.Means, float32(mean))
		out.InverseStdDevs = append(out.InverseStdDevs, float32(1/sd))
	}
}
