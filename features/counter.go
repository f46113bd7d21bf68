package features

import (
	"math"
	"slices"

	"relish/ranker"
)

// counterFeature computes a count or rate feature.
type counterFeature struct {
	scope  string
	kind   int // action
	half   int
	field  int
	weight float64
}

// defaultWeight is the strength of a rate's smoothing, in impressions: what is known of an item
// outweighs the prior after ten. From 0.5 to 40 it makes no difference to the ranking of warm items.
const defaultWeight = 10

func (t *Counters) counter(f *ranker.Feature) *counterFeature {
	c := &counterFeature{scope: f.Scope, half: slices.Index(t.cfg.HalfLives, halfLife(f)), field: slices.Index(t.cfg.Fields, f.Field), weight: f.Weight}
	c.kind, _ = t.cfg.counterIndex(f.Action)
	if c.weight == 0 {
		c.weight = defaultWeight
	}
	return c
}

// read returns actions and impressions of one set of counters.
func (c *counterFeature) read(r *reader, n *decayedCounts) (actions, shown float64) {
	return r.t.layout.actionsAndImpressions(n, c.kind, c.half, r.now)
}

// logs fills ln(1 + count); over an item's values, their mean.
func (c *counterFeature) logs(r *reader) fill {
	one := func(n *decayedCounts) float64 {
		return math.Log1p(r.t.layout.value(n, c.kind, c.half, r.now))
	}
	switch c.scope {
	case ranker.ScopeItem:
		return func(i int, row []float32) { row[0] = float32(one(&r.items[i].counts)) }
	case ranker.ScopeUser:
		if r.user == nil {
			return same(0)
		}
		return same(one(&r.user.counts))
	case ranker.ScopeGlobal:
		return same(one(&r.t.global))
	case ranker.ScopeField:
		return means(r.entries, c.field, one)
	}
	return means(r.values, c.field, c.ofUser(r, func(_ fieldValue, n *decayedCounts) float64 { return one(n) }))
}

// rates fills the log-odds of the smoothed action rate, relative to what it is smoothed towards: the
// global rate, and for a user with a value that value's own rate. It is missing where nothing at all
// has been shown.
func (c *counterFeature) rates(r *reader) fill {
	actions, shown := c.read(r, &r.t.global)
	if shown == 0 {
		return same(nan)
	}
	global := min(max(actions/shown, minRate), maxRate)
	odds := logOdds(global)
	switch c.scope {
	case ranker.ScopeItem:
		return func(i int, row []float32) { row[0] = float32(c.relative(r, &r.items[i].counts, global, odds)) }
	case ranker.ScopeUser:
		if r.user == nil {
			return same(0)
		}
		return same(c.relative(r, &r.user.counts, global, odds))
	case ranker.ScopeGlobal:
		return same(odds)
	case ranker.ScopeField:
		return c.fieldRates(r, global, odds)
	}
	return means(r.values, c.field, c.ofUser(r, func(v fieldValue, n *decayedCounts) float64 {
		prior := c.smoothed(r, r.t.values[c.field][v.Value()], global)
		return c.relative(r, n, prior, logOdds(prior))
	}))
}

// fieldRates fills the mean over an item's values. The mean of log-odds is taken as one logarithm of a
// product of odds, since logarithms are most of the cost.
func (c *counterFeature) fieldRates(r *reader, global, odds float64) fill {
	return func(i int, row []float32) {
		values := r.entries(i, c.field)
		if len(values) == 0 {
			return
		}
		sum, product := 0.0, 1.0
		for _, n := range values {
			if n == nil {
				continue
			}
			p := c.smoothed(r, n, global)
			product *= p / (1 - p)
			sum -= odds
			if product < 1e-200 || product > 1e200 {
				sum, product = sum+math.Log(product), 1
			}
		}
		row[0] = float32((sum + math.Log(product)) / float64(len(values)))
	}
}

// same fills every row alike.
func same(x float64) fill {
	cell := float32(x)
	return func(_ int, row []float32) { row[0] = cell }
}

// ofUser computes what the user's counters say, once for each value he has, since he has few and the
// candidates share them; 0 for any other.
func (c *counterFeature) ofUser(r *reader, compute func(fieldValue, *decayedCounts) float64) func(fieldValue) float64 {
	if r.user == nil || len(r.user.values[c.field]) == 0 {
		return func(fieldValue) float64 { return 0 }
	}
	list := r.user.values[c.field]
	known := make(map[fieldValue]float64, len(list))
	for k := range list {
		known[list[k].value] = compute(list[k].value, &list[k].decayedCounts)
	}
	return func(v fieldValue) float64 { return known[v] }
}

// smoothed is (actions + w prior) / (impressions + w), the mean of a Beta posterior.
func (c *counterFeature) smoothed(r *reader, n *decayedCounts, prior float64) float64 {
	actions, shown := c.read(r, n)
	return min(max((actions+c.weight*prior)/(max(shown, actions)+c.weight), minRate), maxRate)
}

// relative is the log-odds of the smoothed rate over the prior's, which is odds.
func (c *counterFeature) relative(r *reader, n *decayedCounts, prior, odds float64) float64 {
	if n == nil || n.values == nil {
		return 0
	}
	return logOdds(c.smoothed(r, n, prior)) - odds
}

// means averages over a candidate's values of the field, missing without any. of gives the values, or what stands for them.
func means[T any](of func(i, field int) []T, field int, value func(T) float64) fill {
	return func(i int, row []float32) {
		values := of(i, field)
		if len(values) == 0 {
			return
		}
		sum := 0.0
		for _, v := range values {
			sum += value(v)
		}
		row[0] = float32(sum / float64(len(values)))
	}
}
