package signals

import (
	"math/rand/v2"

	"github.com/viterin/vek/vek32"

	served "relish/ranker/signals"
)

const (
	learnedDim          = 16 // length of a learned item vector
	variationalRounds   = 12
	maxResidualUsers    = 50_000 // users that the learned vectors are fitted to, the newest
	maxResidualsPerUser = 200    // of these the newest
	// minItemResiduals is the number of residuals below which an item gets the vector that its
	// content predicts.
	minItemResiduals = 5
)

// residual is what a shown item's popularity leaves unexplained: 1 if it was clicked, else 0, minus
// its click probability.
type residual struct {
	item  int32
	value float64
}

// TrainResidualGP fits item vectors to the residuals of all users, so that items whose residuals go
// together have similar vectors. It returns nil if no list has both clicked and unclicked items.
func TrainResidualGP(
	c *Corpus,
	projection *served.Projection,
	seed uint64,
) (*served.ResidualGP, error) {
	n, contentDim := c.Items.Len(), projection.Dim()
	out := &served.ResidualGP{
		Items: c.Items, Content: projection, ContentVectors: make([]float32, n*contentDim),
		Dim: learnedDim, LearnedVectors: make([]float32, n*learnedDim),
	}
	out.LogOdds, _ = c.ClickLogOdds()
	for i := range n {
		if c.ItemInfos[i] != nil {
			vector := out.ContentVectors[i*contentDim : (i+1)*contentDim]
			projection.Project(c.ItemInfos[i], c.Vectors[i], vector)
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
		if round%3 == 2 { // variances change slowly, and fitting them costs as much as a round
			a.fitVariances()
		}
	}
	a.writeModel()
	out.ContentNoise = fitContentNoise(out, users)
	return out, nil
}

// userResiduals returns the residuals of each user's whole history, for users with any.
func userResiduals(c *Corpus, logOdds []float32) (users [][]residual) {
	for u := len(c.Users) - 1; u >= 0 && len(users) < maxResidualUsers; u-- {
		var all []residual
		for i := range c.Users[u].Lists {
			all = append(all, listResiduals(&c.Users[u].Lists[i], logOdds)...)
		}
		all = all[max(0, len(all)-maxResidualsPerUser):]
		if len(all) > 0 {
			users = append(users, all)
		}
	}
	return users
}

// listResiduals returns the residuals of one list, nil if nothing or everything was clicked.
func listResiduals(l *List, logOdds []float32) []residual {
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
	offset := served.ListOffset(logOdds, items, clicks)
	out := make([]residual, len(items))
	for k, item := range items {
		out[k] = residual{item, -served.Sigmoid(float64(logOdds[item]) + offset)}
		if clicked[k] {
			out[k].value++
		}
	}
	return out
}

// fitContentNoise returns the noise variance of residuals over content vectors with which a user's
// earlier residuals predict their last ones best.
func fitContentNoise(gp *served.ResidualGP, users [][]residual) float64 {
	const (
		lastResiduals = 24   // predicted from the earlier ones
		maxUsers      = 2000 // enough for a stable choice
	)
	best, bestGain := 8.0, 0.0
	if gp.Content.Dim() == 0 {
		return best
	}
	for _, noise := range []float64{1, 2, 4, 8, 16, 32, 64} {
		gp.ContentNoise = noise
		gain := 0.0 // reduction of the squared error against predicting 0
		for _, history := range users[:min(len(users), maxUsers)] {
			if len(history) <= lastResiduals {
				continue
			}
			split := len(history) - lastResiduals
			var items []int32
			var values []float32
			for _, x := range history[:split] {
				items, values = append(items, x.item), append(values, float32(x.value))
			}
			weights := gp.ContentWeights(items, values)
			dim := len(weights)
			for _, x := range history[split:] {
				vector := gp.ContentVectors[int(x.item)*dim : (int(x.item)+1)*dim]
				p := float64(vek32.Dot(weights, vector))
				gain += x.value*x.value - (x.value-p)*(x.value-p)
			}
		}
		if gain > bestGain {
			best, bestGain = noise, gain
		}
	}
	return best
}
