package features

import (
	"math"
	"slices"

	"relish/ranker"
)

// counter computes a count or rate feature.
type counter struct {
	scope  string
	kind   int // action
	half   int
	field  int
	weight float64
}

// defaultWeight is the strength of a rate's smoothing, in impressions: what is known of an item
// outweighs the prior after ten. From 0.5 to 40 it makes no difference to the ranking of warm items.
const defaultWeight = 10

func (s *State) counter(f *ranker.Feature) *counter {
	c := &counter{scope: f.Scope, half: slices.Index(s.cfg.HalfLives, halfLife(f)), field: slices.Index(s.cfg.Fields, f.Field), weight: f.Weight}
	c.kind, _ = s.cfg.kind(f.Action)
	if c.weight == 0 {
		c.weight = defaultWeight
	}
	return c
}

// read returns actions and impressions of one set of counters.
func (c *counter) read(r *reader, n *counts) (actions, shown float64) {
	l := &r.s.layout
	return l.value(n, c.kind, c.half, r.now), l.value(n, 0, c.half, r.now)
}

// log is ln(1 + count); over an item's values, their mean.
func (c *counter) log(r *reader, i int) float64 {
	one := func(n *counts) float64 {
		actions, _ := c.read(r, n)
		return math.Log1p(actions)
	}
	switch c.scope {
	case ranker.ScopeItem:
		return one(&r.items[i].counts)
	case ranker.ScopeUser:
		if r.user == nil {
			return 0
		}
		return one(&r.user.counts)
	case ranker.ScopeGlobal:
		return one(&r.s.global)
	case ranker.ScopeField:
		return c.mean(r, i, func(v string) float64 { return one(r.s.values[c.field][v]) })
	}
	return c.mean(r, i, func(v string) float64 { return one(r.userCounts(c.field, v)) })
}

// rate is the log-odds of the smoothed action rate, relative to what it is smoothed towards: the
// global rate, and for a user with a value that value's own rate. It is missing where nothing at all
// has been shown.
func (c *counter) rate(r *reader, i int) float64 {
	actions, shown := c.read(r, &r.s.global)
	if shown == 0 {
		return nan
	}
	global := min(max(actions/shown, minRate), maxRate)
	switch c.scope {
	case ranker.ScopeItem:
		return c.relative(r, &r.items[i].counts, global)
	case ranker.ScopeUser:
		if r.user == nil {
			return 0
		}
		return c.relative(r, &r.user.counts, global)
	case ranker.ScopeGlobal:
		return logOdds(global)
	case ranker.ScopeField:
		return c.mean(r, i, func(v string) float64 { return c.relative(r, r.s.values[c.field][v], global) })
	}
	return c.mean(r, i, func(v string) float64 {
		u := r.userCounts(c.field, v)
		if u == nil {
			return 0
		}
		return c.relative(r, u, c.smoothed(r, r.s.values[c.field][v], global))
	})
}

// smoothed is (actions + w prior) / (impressions + w), the mean of a Beta posterior.
func (c *counter) smoothed(r *reader, n *counts, prior float64) float64 {
	actions, shown := c.read(r, n)
	return min(max((actions+c.weight*prior)/(max(shown, actions)+c.weight), minRate), maxRate)
}

func (c *counter) relative(r *reader, n *counts, prior float64) float64 {
	return logOdds(c.smoothed(r, n, prior)) - logOdds(prior)
}

// mean averages over candidate i's values of the field, missing without any.
func (c *counter) mean(r *reader, i int, value func(string) float64) float64 {
	values := r.values(i, c.field)
	if len(values) == 0 {
		return nan
	}
	sum := 0.0
	for _, v := range values {
		sum += value(v)
	}
	return sum / float64(len(values))
}
