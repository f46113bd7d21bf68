package features

import (
	"math"
	"slices"

	"relish/ranker"
)

// counterFeature computes one count or rate feature. A count is log1p of the decayed count. A rate
// is the log-odds of the smoothed action rate minus the log-odds of its prior.
type counterFeature struct {
	isRate   bool
	scope    string
	action   int // as Config.counterIndex returns it
	halfLife int // index into Config.HalfLives
	field    int // index into Config.Fields, -1 for a scope without a field
	weight   float64
	prior    int // index into compiledSchema.priors; rates only
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

func (c *compiledSchema) counterFeature(cfg *Config, f *ranker.Feature) counterFeature {
	out := counterFeature{
		scope: f.Scope, halfLife: slices.Index(cfg.HalfLives, halfLife(f)), field: -1,
	}
	if f.Scope == ranker.ScopeField || f.Scope == ranker.ScopeUserField {
		out.field = slices.Index(cfg.Fields, f.Field)
	}
	out.action, _ = cfg.counterIndex(f.Action)
	if f.Kind != ranker.KindRate {
		return out
	}
	out.isRate, out.weight = true, f.Weight
	if out.weight == 0 {
		out.weight = defaultRateWeight
	}
	key := priorKey{out.action, out.halfLife}
	if out.prior = slices.Index(c.priors, key); out.prior < 0 {
		out.prior = len(c.priors)
		c.priors = append(c.priors, key)
	}
	return out
}

// number returns the feature's value for one counter, 0 without data. p is the prior of a rate. It
// is NaN for a rate if nothing has been shown at all.
func (f *counterFeature) number(x *extraction, n *decayedCounts, p prior) float64 {
	if n == nil || n.values == nil {
		return f.numberOf(0, 0, p)
	}
	return f.decayed(x, n, x.counters.layout.decay(n, f.halfLife, x.now), p)
}

// decayed is number for a counter that has counted something. decay is its factor for the feature's
// half-life.
func (f *counterFeature) decayed(x *extraction, n *decayedCounts, decay float64, p prior) float64 {
	actions := n.sum(f.action, f.halfLife, len(x.counters.layout.rates)) * decay
	if !f.isRate {
		return math.Log1p(actions)
	}
	return f.numberOf(actions, n.values[f.halfLife]*decay, p)
}

// numberOf returns the feature's value for counts.
func (f *counterFeature) numberOf(actions, shown float64, p prior) float64 {
	switch {
	case !f.isRate:
		return math.Log1p(actions)
	case p.rate == 0:
		return nan
	case actions == 0 && shown == 0:
		return 0
	}
	return logOdds(f.smoothedRate(actions, shown, p)) - p.logOdds
}

// smoothedRate is the mean of a Beta posterior: (actions + weight * prior) / (impressions +
// weight).
func (f *counterFeature) smoothedRate(actions, shown float64, p prior) float64 {
	return (actions + f.weight*p.rate) / (max(shown, actions) + f.weight)
}

// setForRequest sets the cell of a user's or the global counter. A user's rate is relative to the
// global one. The cell of a global rate is the log-odds of the prior.
func (f *counterFeature) setForRequest(x *extraction, cells []float32) {
	p := x.prior(f)
	switch {
	case f.scope == ranker.ScopeUser && x.user == nil:
		cells[0] = float32(f.numberOf(0, 0, p))
	case f.scope == ranker.ScopeUser:
		cells[0] = float32(f.number(x, &x.user.counts, p))
	case f.isRate && p.rate != 0:
		cells[0] = float32(p.logOdds)
	case !f.isRate:
		cells[0] = float32(f.number(x, &x.counters.global, p))
	}
}

// prior returns the prior of a rate, the global rate of its action.
func (x *extraction) prior(f *counterFeature) prior {
	if !f.isRate {
		return prior{}
	}
	return x.priors[f.prior]
}

// logOdds returns the log-odds of a rate, which it bounds by minRate and maxRate.
func logOdds(p float64) float64 {
	p = min(max(p, minRate), maxRate)
	return math.Log(p / (1 - p))
}
