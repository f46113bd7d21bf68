package features

import (
	"math"
	"slices"

	"relish/ranker"
)

// counterFeature computes one count or rate feature.
type counterFeature struct {
	scope    string
	action   int // as Config.counterIndex returns it
	halfLife int // index into Config.HalfLives
	field    int // index into Config.Fields, -1 for a scope without a field
	weight   float64
}

// defaultRateWeight is the default strength of a rate's smoothing, in impressions: after ten
// impressions an item's own data outweigh the prior. Any weight from 0.5 to 40 ranks items with
// data alike.
const defaultRateWeight = 10

// minRate and maxRate bound a rate, so that its log-odds are finite.
const (
	minRate = 1e-4
	maxRate = 1 - minRate
)

var nan = math.NaN()

func (t *Counters) counterFeature(f *ranker.Feature) *counterFeature {
	c := &counterFeature{
		scope:    f.Scope,
		halfLife: slices.Index(t.cfg.HalfLives, halfLife(f)),
		field:    slices.Index(t.cfg.Fields, f.Field),
		weight:   f.Weight,
	}
	c.action, _ = t.cfg.counterIndex(f.Action)
	if c.weight == 0 {
		c.weight = defaultRateWeight
	}
	return c
}

// ---- Counts ----

// prepareCount fills log1p of the decayed count, for a field scope the mean over the item's values.
func (c *counterFeature) prepareCount(x *extraction) fillFunc {
	logCount := func(n *decayedCounts) float64 {
		return math.Log1p(x.counters.layout.value(n, c.action, c.halfLife, x.query.Now))
	}
	switch c.scope {
	case ranker.ScopeItem:
		return func(i int, cells []float32) { cells[0] = float32(logCount(&x.items[i].counts)) }
	case ranker.ScopeUser:
		if x.user == nil {
			return constant(0)
		}
		return constant(logCount(&x.user.counts))
	case ranker.ScopeGlobal:
		return constant(logCount(&x.counters.global))
	case ranker.ScopeField:
		return meanOver(x.valueCounts, c.field, logCount)
	}
	return meanOver(x.values, c.field,
		c.perUserValue(x, func(_ fieldValue, n *decayedCounts) float64 { return logCount(n) }))
}

// ---- Rates ----

// prepareRate fills the log-odds of the smoothed action rate minus the log-odds of its prior. The
// prior is the global rate. For a user with a field value it is the rate of that value over all
// users. The cells are missing if nothing has been shown at all.
func (c *counterFeature) prepareRate(x *extraction) fillFunc {
	actions, shown := c.actionsAndImpressions(x, &x.counters.global)
	if shown == 0 {
		return constant(nan)
	}
	prior := min(max(actions/shown, minRate), maxRate)
	priorLogOdds := logOdds(prior)
	switch c.scope {
	case ranker.ScopeItem:
		return func(i int, cells []float32) {
			cells[0] = float32(c.relativeLogOdds(x, &x.items[i].counts, prior, priorLogOdds))
		}
	case ranker.ScopeUser:
		if x.user == nil {
			return constant(0)
		}
		return constant(c.relativeLogOdds(x, &x.user.counts, prior, priorLogOdds))
	case ranker.ScopeGlobal:
		return constant(priorLogOdds)
	case ranker.ScopeField:
		return c.fieldRateFill(x, prior, priorLogOdds)
	}
	return meanOver(
		x.values,
		c.field,
		c.perUserValue(x, func(v fieldValue, n *decayedCounts) float64 {
			valueRate := c.smoothedRate(x, x.counters.lookup(CounterKey{c.field, v.Value()}), prior)
			return c.relativeLogOdds(x, n, valueRate, logOdds(valueRate))
		}),
	)
}

// fieldRateFill fills the mean over an item's values. It takes one logarithm of the product of the
// odds instead of one for each value, because logarithms are most of the cost.
func (c *counterFeature) fieldRateFill(x *extraction, prior, priorLogOdds float64) fillFunc {
	return func(i int, cells []float32) {
		values := x.valueCounts(i, c.field)
		if len(values) == 0 {
			return
		}
		sum, product := 0.0, 1.0
		for _, n := range values {
			if n == nil {
				continue
			}
			p := c.smoothedRate(x, n, prior)
			product *= p / (1 - p)
			sum -= priorLogOdds
			if product < 1e-200 || product > 1e200 { // close to the range of float64
				sum, product = sum+math.Log(product), 1
			}
		}
		cells[0] = float32((sum + math.Log(product)) / float64(len(values)))
	}
}

// smoothedRate is the mean of a Beta posterior: (actions + weight * prior) / (impressions +
// weight).
func (c *counterFeature) smoothedRate(x *extraction, n *decayedCounts, prior float64) float64 {
	actions, shown := c.actionsAndImpressions(x, n)
	return min(max((actions+c.weight*prior)/(max(shown, actions)+c.weight), minRate), maxRate)
}

// relativeLogOdds is the log-odds of the smoothed rate minus those of the prior. It is 0 without
// data.
func (c *counterFeature) relativeLogOdds(
	x *extraction,
	n *decayedCounts,
	prior, priorLogOdds float64,
) float64 {
	if n == nil || n.values == nil {
		return 0
	}
	return logOdds(c.smoothedRate(x, n, prior)) - priorLogOdds
}

func (c *counterFeature) actionsAndImpressions(
	x *extraction,
	n *decayedCounts,
) (actions, shown float64) {
	return x.counters.layout.actionsAndImpressions(n, c.action, c.halfLife, x.query.Now)
}

func logOdds(p float64) float64 {
	p = min(max(p, minRate), maxRate)
	return math.Log(p / (1 - p))
}

// ---- Shared by both ----

// perUserValue computes a number once for each field value that the user has counters for, because
// these are few and the candidates share them. The result returns 0 for any other value.
func (c *counterFeature) perUserValue(
	x *extraction, compute func(fieldValue, *decayedCounts) float64,
) func(fieldValue) float64 {
	if x.user == nil || len(x.user.values[c.field]) == 0 {
		return func(fieldValue) float64 { return 0 }
	}
	list := x.user.values[c.field]
	known := make(map[fieldValue]float64, len(list))
	for k := range list {
		known[list[k].value] = compute(list[k].value, &list[k].decayedCounts)
	}
	return func(v fieldValue) float64 { return known[v] }
}

// meanOver fills the mean over a candidate's values of a counted field. The cell is missing if the
// candidate has no values. list returns the values, or their counters.
func meanOver[T any](list func(i, field int) []T, field int, number func(T) float64) fillFunc {
	return func(i int, cells []float32) {
		values := list(i, field)
		if len(values) == 0 {
			return
		}
		sum := 0.0
		for _, v := range values {
			sum += number(v)
		}
		cells[0] = float32(sum / float64(len(values)))
	}
}
