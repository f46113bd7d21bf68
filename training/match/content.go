package match

import (
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"relish/ranker"
	"relish/ranker/match"
)

var errNumeric = errors.New("the numbers of this log cannot be factorised")

// Of an item's strength.
const (
	strengthPrior = 10 // impressions that an item's click rate is smoothed by
	contentRidge  = 20 // of the content regression, in items' weights
)

// Strengths returns each item's log-odds of a click relative to all items, smoothed, with how many impressions say so;
// of a corpus without lists, log1p of the interactions relative to the mean, each item saying it once.
func (c *Corpus) Strengths() (strength []float32, weight []float64) {
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
		return c.popularity()
	}
	rate := (allClicked + 1) / (allShown + 2)
	odds := func(p float64) float64 { return math.Log(p / (1 - p)) }
	for i := range n {
		strength[i] = float32(odds((clicked[i]+strengthPrior*rate)/(shown[i]+strengthPrior)) - odds(rate))
		weight[i] = shown[i]
	}
	return strength, weight
}

func (c *Corpus) popularity() (strength []float32, weight []float64) {
	taken, _ := c.counts()
	strength, weight = make([]float32, len(taken)), make([]float64, len(taken))
	mean := 0.0
	for _, x := range taken {
		mean += math.Log1p(x) / float64(max(1, len(taken)))
	}
	for i, x := range taken {
		strength[i], weight[i] = float32(math.Log1p(x)-mean), strengthPrior
	}
	return strength, weight
}

// TrainContent learns an item's strength from its content; nil if no item has any. An item's weight grows with its
// impressions.
func TrainContent(c *Corpus, space *match.Space) (*match.Content, error) {
	out := &match.Content{Items: c.Items, Space: space, Known: make([]float32, c.Items.Len())}
	c.numbers(out)
	strength, shown := c.Strengths()
	dim := space.Dim() + 2*len(out.Numbers)
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
		if c.Infos[i] != nil {
			out.Row(c.Infos[i], c.Vectors[i], row)
		}
		for d, v := range row {
			x.SetVec(d, float64(v))
		}
		x.SetVec(dim, 1)
		return shown[i] / (shown[i] + strengthPrior)
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
		return nil, errNumeric
	}
	var weights, solved mat.VecDense
	if err := chol.SolveVecTo(&weights, right); err != nil {
		return nil, errors.Join(errNumeric, err)
	}
	for d := range dim {
		out.Weights[d] = float32(weights.AtVec(d))
	}
	out.Constant = weights.AtVec(dim)
	for i := range strength {
		w := load(i)
		p := mat.Dot(x, &weights)
		if w > 0 {
			if err := chol.SolveVecTo(&solved, x); err != nil {
				return nil, errors.Join(errNumeric, err)
			}
			h := w * mat.Dot(x, &solved) // the item's leverage: without it the prediction would be
			p = (p - h*float64(strength[i])) / (1 - h)
		}
		out.Known[i] = float32(p)
	}
	return out, nil
}

// numbers finds the numeric fields and how they are spread.
func (c *Corpus) numbers(out *match.Content) {
	count, sum, squares := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, it := range c.Infos {
		if it == nil {
			continue
		}
		for name, v := range it.Fields {
			if v.Kind != ranker.Number && v.Kind != ranker.Bool {
				continue
			}
			x := float64(match.Squash(v.Num))
			count[name]++
			sum[name] += x
			squares[name] += x * x
		}
	}
	for name := range count {
		out.Numbers = append(out.Numbers, name)
	}
	slices.Sort(out.Numbers)
	for _, name := range out.Numbers {
		mean := sum[name] / count[name]
		sd := math.Sqrt(max(1e-6, squares[name]/count[name]-mean*mean))
		out.Centre, out.Scale = append(out.Centre, float32(mean)), append(out.Scale, float32(1/sd))
	}
}
