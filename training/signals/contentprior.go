package signals

import (
	"math"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
	served "relish/ranker/signals"
)

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

// contentTargets returns what the content regression predicts: log-odds of a click relative to all
// items, as if users had looked at every impression. For a corpus without lists, log1p of an item's
// interactions minus the mean over all items.
func (c *Corpus) contentTargets() *contentTargets {
	counts, rate := c.clickCounts(true)
	t := &contentTargets{}
	if rate == 0 {
		mean := 0.0
		for _, n := range c.interactionCounts() {
			t.popularity = append(t.popularity, math.Log1p(n))
			mean += math.Log1p(n) / float64(len(counts))
		}
		for i := range t.popularity {
			t.popularity[i] -= mean
		}
		return t
	}
	t.meanLogOdds = logOddsOf(rate)
	for _, n := range counts {
		t.shown = append(t.shown, n.Shown)
		t.rates = append(t.rates, min(1, n.Actions/max(1e-9, n.Shown)))
	}
	return t
}

// contentFolds is the number of folds of the out-of-fold predictions. An item's fold is a hash of
// its id, so that the next training has the same folds.
const contentFolds = 20

// contentFoldOf returns the fold of each item.
func contentFoldOf(c *Corpus) []uint8 {
	out := make([]uint8, c.Items.Len())
	for i, id := range c.Items.IDs() {
		out[i] = uint8(xxhash.Sum64String("content fold "+id) % contentFolds)
	}
	return out
}

// TrainContentPrior fits a ridge regression that predicts an item's click log-odds from its
// content. Without any content, the result predicts the same for all items.
func TrainContentPrior(
	c *Corpus, features *served.ContentFeatures, v ContentVariances,
) (*served.ContentPrior, error) {
	design, err := newContentDesign(c, features)
	if err != nil {
		return nil, err
	}
	r := newContentRegression(design, c.contentTargets(), v)
	rows := make([]int, c.Items.Len())
	for i := range rows {
		rows[i] = i
	}
	coefficients, predictions := r.outOfFold(rows, contentFoldOf(c), contentFolds, nil)
	effects := make([]float64, design.effect)
	r.effects(coefficients, effects)
	part := func(from, to int) []float32 {
		out := make([]float32, to-from)
		for i := range out {
			out[i] = float32(effects[from+i])
		}
		return out
	}
	intercept := design.effect - 1
	out := &served.ContentPrior{
		Items: c.Items, Features: features,
		Effects: served.ContentEffects{
			Values: part(0, design.knots), Knots: part(design.knots, design.missing),
			Missing: part(design.missing, design.text), Text: part(design.text, intercept),
			Intercept: effects[intercept],
		},
	}
	for _, x := range predictions {
		out.OutOfFold = append(out.OutOfFold, float32(x))
	}
	counts, rate := c.clickCounts(false)
	if rate > 0 {
		out.MeanLogOdds = logOddsOf(rate)
		at := func(i int) float64 { return out.MeanLogOdds + predictions[i] }
		_, out.PriorImpressions = clickLikelihood(counts, at)
	}
	return out, nil
}

// clickLikelihood returns the log-likelihood of items' clicks if their click rates have beta
// distributions around predictions, and how many impressions a prediction counts as for the highest
// likelihood. predicted returns the log-odds of a click on an item.
func clickLikelihood(
	counts []ranker.ItemCounts, predicted func(item int) float64,
) (highest, impressions float64) {
	logGamma := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
	highest = math.Inf(-1)
	for _, k := range []float64{2, 4, 8, 12, 16, 20, 30, 40, 60, 100, 200} {
		sum := 0.0
		for i, n := range counts {
			if n.Shown == 0 {
				continue
			}
			p := served.Sigmoid(predicted(i))
			a, b, missed := k*p, k*(1-p), n.Shown-n.Actions
			sum += logGamma(a+n.Actions) - logGamma(a) + logGamma(b+missed) - logGamma(b) +
				logGamma(k) - logGamma(k+n.Shown)
		}
		if sum > highest {
			highest, impressions = sum, k
		}
	}
	return highest, impressions
}
