package signals

import (
	"slices"

	served "relish/ranker/signals"
)

const (
	maxLearnedDim       = 32     // length of a learned item vector at most
	factorRounds        = 4      // updates of all users' and items' vectors
	maxResidualUsers    = 20_000 // users that the learned vectors are fitted to, the newest
	maxResidualsPerUser = 200    // of these the newest
	examinedPositions   = 100    // positions whose examination the signal keeps
)

// TrainResidualGP fits item vectors to the residuals of all users, so that items whose residuals go
// together have similar vectors. It fits the weights of the kernel's parts to users' later lists.
// It returns nil if no list has both clicked and unclicked items.
func TrainResidualGP(
	c *Corpus,
	prior *served.ContentPrior,
	seed uint64,
) (*served.ResidualGP, error) {
	if prior.PriorImpressions == 0 {
		return nil, nil
	}
	out := &served.ResidualGP{Prior: prior, LogOdds: examinedLogOdds(c, prior)}
	for position := range examinedPositions {
		if c.Examination != nil {
			out.Examination = append(out.Examination, float32(c.Examination.Examination(position)))
		}
	}
	users := userResiduals(c, out.LogOdds)
	if len(users) == 0 {
		return nil, nil
	}
	out.Kernel = newItemKernel(c, prior)
	weights, err := fitKernelWeights(out, users, seed)
	if err != nil {
		return nil, err
	}
	out.Kernel = out.Kernel.WithWeights(weights)
	return out, fitLearnedVectors(out.Kernel, users, seed)
}

// examinedLogOdds returns the log-odds of a click on each item if users look at it, relative to
// prior.MeanLogOdds. A residual multiplies the probability of the click by that of looking, so the
// log-odds must not have it already.
func examinedLogOdds(c *Corpus, prior *served.ContentPrior) []float32 {
	counts, rate := c.clickCounts(true)
	examined := *prior
	examined.MeanLogOdds = logOddsOf(rate)
	out := make([]float32, len(counts))
	for i := range counts {
		logOdds := examined.LogOdds(prior.OutOfFold[i], counts[i])
		out[i] = float32(logOdds + examined.MeanLogOdds - prior.MeanLogOdds)
	}
	return out
}

// newItemKernel returns the kernel of the catalogue, without learned vectors.
func newItemKernel(c *Corpus, prior *served.ContentPrior) *served.ItemKernel {
	features := prior.Features
	k := served.ItemKernel{
		Features: features, LearnedDim: maxLearnedDim,
		Weights: startWeights(features.FieldCount, len(features.Numbers)),
	}
	if d := features.Projection.FieldDim; d > 0 {
		k.LearnedDim = min(k.LearnedDim, d)
	}
	return served.NewItemKernel(k, c.ItemInfos, c.Vectors)
}

// userLists are the residuals of one user's lists, oldest first.
type userLists [][]served.Residual

// residuals returns the residuals of all lists but the last skipped ones, the newest bound of them.
func (u userLists) residuals(skipped, bound int) []served.Residual {
	all := slices.Concat(u[:len(u)-skipped]...)
	return all[max(0, len(all)-bound):]
}

// userResiduals returns the residuals of users, for those with any.
func userResiduals(c *Corpus, logOdds []float32) (users []userLists) {
	for u := len(c.Users) - 1; u >= 0 && len(users) < maxResidualUsers; u-- {
		var lists userLists
		for i := range c.Users[u].Lists {
			if list := listResiduals(c, &c.Users[u].Lists[i], logOdds); list != nil {
				lists = append(lists, list)
			}
		}
		if len(lists) > 0 {
			users = append(users, lists)
		}
	}
	return users
}

// listResiduals returns the residuals of one list, nil if nothing or everything was clicked.
func listResiduals(c *Corpus, l *List, logOdds []float32) []served.Residual {
	var out []served.Residual
	clicks := 0
	for k, item := range l.Items {
		if item < 0 {
			continue
		}
		r := served.Residual{
			Item: item, Examined: float32(c.Examination.Examination(k)),
		}
		if l.Gains[k] > 0 {
			r.Value = 1
			clicks++
		}
		out = append(out, r)
	}
	if clicks == 0 || clicks == len(out) {
		return nil
	}
	served.ListResiduals(logOdds, out, clicks)
	return out
}
