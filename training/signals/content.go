package signals

import (
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"relish/ranker"
	"relish/ranker/signals"
)

var errSingular = errors.New("the numbers of this log cannot be factorised")

// Of an item's strength.
const (
	clickRatePrior = 10 // impressions that an item's click rate is smoothed by
	contentRidge   = 20 // of the content regression, in items' weights
)

// ClickLogOdds returns each item's log-odds of a click relative to all items, smoothed, with how many impressions say so;
// of a corpus without lists, log1p of the interactions relative to the mean, each item saying it once.
func (c *Corpus) ClickLogOdds() (strength []float32, weight []float64) {
	n := c.Items.Len()
	strength, weight = make([]float32, n), make([]float64, n)
	clicked, shown := make([]float64, n), make([]float64, n)
	allClicked, allShown := 0.0, 0.0
	for _, u := range c.Users {
		for _, l := range u.Lists {
			for k, item := range l.Items {
				if item < 0 {
					continue
				}
				shown[item]++
				allShown++
				if l.Gains[k] > 0 {
					clicked[item]++
					allClicked++
				}
			}
		}
	}
	if allShown == 0 {
		return c.popularityLogOdds()
	}
	rate := (allClicked + 1) / (allShown + 2)
	odds := func(p float64) float64 { return math.Log(p / (1 - p)) }
	for i := range n {
		strength[i] = float32(odds((clicked[i]+clickRatePrior*rate)/(shown[i]+clickRatePrior)) - odds(rate))
		weight[i] = shown[i]
	}
	return strength, weight
}

func (c *Corpus) popularityLogOdds() (strength []float32, weight []float64) {
	taken, _ := c.counts()
	strength, weight = make([]float32, len(taken)), make([]float64, len(taken))
	mean := 0.0
	for _, x := range taken {
		mean += math.Log1p(x) / float64(max(1, len(taken)))
	}
	for i, x := range taken {
		strength[i], weight[i] = float32(math.Log1p(x)-mean), clickRatePrior
	}
	return strength, weight
}

// TrainContentPrior learns an item's strength from its content; nil if no item has any. An item's weight grows with its
// impressions.
func TrainContentPrior(c *Corpus, space *signals.Projection) (*signals.ContentPrior, error) {
	out := &signals.ContentPrior{Items: c.Items, Projection: space, LeaveOneOut: make([]float32, c.Items.Len())}
	c.numberFields(out)
	strength, shown := c.ClickLogOdds()
	dim := space.Dim() + 2*len(out.NumericFields)
	if dim == 0 {
		return nil, nil
	}
	out.Weights = make([]float32, dim)
	// The last entry is the constant, which is not shrunk.
	gram, right := mat.NewSymDense(dim+1, nil), mat.NewVecDense(dim+1, nil)
	row := make([]float32, dim)
	x := mat.NewVecDense(dim+1, nil)
	load := func(i int) float64 {
		clear(row)
		if c.ItemInfos[i] != nil {
			out.Regressors(c.ItemInfos[i], c.Vectors[i], row)
		}
		for d, v := range row {
			x.SetVec(d, float64(v))
		}
		x.SetVec(dim, 1)
		return shown[i] / (shown[i] + clickRatePrior)
	}
	for i := range strength {
		if w := load(i); w > 0 {
			gram.SymRankOne(gram, w, x)
			right.AddScaledVec(right, w*float64(strength[i]), x)
		}
	}
	for d := range dim {
		gram.SetSym(d, d, gram.At(d, d)+contentRidge)
	}
	gram.SetSym(dim, dim, gram.At(dim, dim)+1e-6)
	var chol mat.Cholesky
	if !chol.Factorize(gram) {
		return nil, errSingular
	}
	var weights, solved mat.VecDense
	if err := chol.SolveVecTo(&weights, right); err != nil {
		return nil, errors.Join(errSingular, err)
	}
	for d := range dim {
		out.Weights[d] = float32(weights.AtVec(d))
	}
	out.Intercept = weights.AtVec(dim)
	for i := range strength {
		w := load(i)
		p := mat.Dot(x, &weights)
		if w > 0 {
			if err := chol.SolveVecTo(&solved, x); err != nil {
				return nil, errors.Join(errSingular, err)
			}
			h := w * mat.Dot(x, &solved) // the item's leverage: without it the prediction would be
			p = (p - h*float64(strength[i])) / (1 - h)
		}
		out.LeaveOneOut[i] = float32(p)
	}
	return out, nil
}

// numberFields finds the numeric fields and how they are spread.
func (c *Corpus) numberFields(out *signals.ContentPrior) {
	count, sum, squares := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, it := range c.ItemInfos {
		if it == nil {
			continue
		}
		for name, v := range it.Fields {
			if v.Kind != ranker.Number && v.Kind != ranker.Bool {
				continue
			}
			x := float64(signals.SignedLog1p(v.Num))
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
		out.Means, out.InverseStdDevs = append(out.Means, float32(mean)), append(out.InverseStdDevs, float32(1/sd))
	}
}
