package evaluate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/internal/stats"
	"relish/training/replay"
)

// OffPolicy says what a ranker would have earned on lists that another one served, with some exploration.
//
// The value is the gain (Options.Gains) of the first K places per list. It is taken that what an item
// gains at a place does not hang on the items around it (the item-position model: Li, Abbasi-Yadkori,
// Kveton, Muthukrishnan, Vinay, Wen: Offline Evaluation of Ranking Policies with Click Models, KDD
// 2018). Then a place of a logged list speaks for the ranker where both have the same item there, with
// the weight 1 / P(item at this place), which follows exactly from the logged Plackett-Luce
// propensities. So one list in n speaks for each of K places, not one in n^K for the whole.
type OffPolicy struct {
	Policy string `json:"policy"`
	K      int    `json:"k"`
	Lists  int    `json:"lists"` // scored
	// Lists left out: not explored (or interleaved), or cut off within the explored places.
	Unexplored int `json:"unexplored"`
	Cut        int `json:"cut"`
	// Refused says why there are no estimates, "" where there are.
	Refused string `json:"refused,omitempty"`
	// Effective is how many lists the weights are worth: Kish's (sum w)^2 / sum w^2 of the lists' mean
	// weights, 0 where nothing overlaps.
	Effective float64 `json:"effective_lists"`
	// Unsupported is the share of the ranker's places that the log could never have shown.
	Unsupported float64 `json:"unsupported"`
	MeanWeight  float64 `json:"mean_weight"` // 1 less Unsupported, if the propensities are right

	Logged *stats.Interval `json:"logged,omitempty"` // what was earned
	// IPS: inverse propensity scoring (Horvitz and Thompson 1952), unbiased. SNIPS: normalised by the
	// weights of each place (Swaminathan and Joachims, NIPS 2015), steadier. DR: doubly robust (Dudik,
	// Langford, Li, ICML 2011) with a model of gain by item and place from other users' lists.
	IPS   *stats.Interval `json:"ips,omitempty"`
	SNIPS *stats.Interval `json:"snips,omitempty"`
	DR    *stats.Interval `json:"dr,omitempty"`
	Gain  *stats.Interval `json:"dr_minus_logged,omitempty"` // paired, on the same lists
}

// When estimates are refused.
const (
	minEffective   = 100
	maxUnsupported = 0.05
	maxWeightError = 4.5 // standard errors of the mean weight
)

// choice is one place of a list: what was shown there, what the ranker would show, and what it tells.
type choice struct {
	shown, wanted int32 // item numbers
	weight, gain  float64
}

type logged struct {
	user    uint64 // hash of the id
	choices []choice
}

// offPolicy gathers the lists.
type offPolicy struct {
	OffPolicy
	items       int
	lists       []logged
	unsupported int
	rng         *rand.Rand
}

// Estimate walks the log as Run does and estimates the policy's value on the lists of the scored part,
// clicked or not. Intervals are 95 %, clustered by user. The error is about the log or the policy; too
// little overlap is no error but a refusal in the result.
func Estimate(ctx context.Context, src replay.Source, state *features.State, opt Options, policy Scorer) (*OffPolicy, error) {
	if opt.Last <= 0 || opt.Last > 1 {
		return nil, fmt.Errorf("the share of the newest lists is %g; it must be above 0 and at most 1", opt.Last)
	}
	if opt.K == 0 {
		opt.K = 10
	}
	log, err := replay.Scan(ctx, src, replay.Options{State: state.Config(), Gains: opt.Gains})
	if err != nil {
		return nil, err
	}
	from, err := log.Newest(opt.Last)
	if err != nil {
		return nil, err
	}
	o := &offPolicy{OffPolicy: OffPolicy{Policy: policy.Name(), K: opt.K}, items: log.Items.Len(), rng: rand.New(rand.NewPCG(opt.Seed, 4))}
	walk := replay.WalkOptions{Frozen: !opt.Prequential, Progress: opt.Progress}
	err = log.Walk(ctx, src, state, log.Impressions(from, math.MaxUint64), walk, func(c *replay.Case) error { return o.add(ctx, c, policy) })
	if err != nil {
		return nil, err
	}
	if o.Refused = o.refusal(); o.Refused == "" {
		o.estimate()
	}
	return &o.OffPolicy, nil
}

// add weighs one list.
func (o *offPolicy) add(ctx context.Context, c *replay.Case, policy Scorer) error {
	propensity := c.Propensity
	if c.Answer != nil && c.Answer.Interleaved != nil {
		propensity = nil // it is given the teams, which says another thing
	}
	x, whole := recoverLuce(propensity)
	switch {
	case len(x.places) == 0:
		o.Unexplored++
		return nil
	case !whole:
		o.Cut++
		return nil
	}
	scores, err := policy.Score(ctx, c)
	if err != nil {
		return fmt.Errorf("%s: %w", policy.Name(), err)
	}
	order, err := Order(scores, o.rng)
	if err != nil {
		return fmt.Errorf("%s: %w", policy.Name(), err)
	}
	drawn := make(map[int]int, len(x.places)) // place -> draw
	for k, place := range x.places {
		drawn[place] = k
	}
	l := logged{user: xxhash.Sum64String(c.Request.User)}
	for place := range min(o.K, len(order)) {
		wanted := order[place] // the candidates are in the order shown: also a place
		ch := choice{shown: c.Items[place], wanted: c.Items[wanted], gain: float64(c.Gains[place])}
		k, random := drawn[place]
		switch _, other := drawn[wanted]; {
		case random != other, !random && wanted != place:
			o.unsupported++
		case wanted == place && random:
			ch.weight = 1 / x.at(k)
		case wanted == place:
			ch.weight = 1
		}
		l.choices = append(l.choices, ch)
	}
	o.lists = append(o.lists, l)
	return nil
}

// refusal judges the overlap.
func (o *offPolicy) refusal() string {
	o.Lists = len(o.lists)
	if o.Lists == 0 {
		return fmt.Sprintf("no list was explored (%d were not, %d were cut off): an order that was always shown says nothing of others. "+
			"Serve with rules.exploration for a while", o.Unexplored, o.Cut)
	}
	var sum, squares, places float64
	var mean clusters
	for _, l := range o.lists {
		w := 0.0
		for _, c := range l.choices {
			w += c.weight
		}
		w /= float64(len(l.choices))
		sum, squares, places = sum+w, squares+w*w, places+float64(len(l.choices))
		mean.add(l.user, w)
	}
	if squares > 0 {
		o.Effective = sum * sum / squares
	}
	o.Unsupported = float64(o.unsupported) / places
	m := mean.ratio()
	o.MeanWeight = m.Value
	switch {
	case o.Unsupported > maxUnsupported:
		return fmt.Sprintf("%.0f %% of the places hold items that the log could never have shown there; look at fewer places (-k), or explore more of them", 100*o.Unsupported)
	case o.Effective < minEffective:
		return fmt.Sprintf("the log's lists agree too rarely with this ranker: they are worth %.0f lists, %d are needed. Explore with a higher temperature, or longer", o.Effective, minEffective)
	case math.Abs(m.Value-(1-o.Unsupported)) > maxWeightError*m.SE+0.02:
		return fmt.Sprintf("the weights have mean %.3f where %.3f is due: the logged propensities do not describe how these lists were drawn", m.Value, 1-o.Unsupported)
	}
	return ""
}

// estimate fills in the estimates.
func (o *offPolicy) estimate() {
	model := fitGains(o.lists, o.items, o.K)
	var weights, gains []float64 // by place: sums for SNIPS
	for range o.K {
		weights, gains = append(weights, 0), append(gains, 0)
	}
	for _, l := range o.lists {
		for place, c := range l.choices {
			weights[place] += c.weight
			gains[place] += c.weight * c.gain
		}
	}
	var served, ips, snips, dr, gain clusters
	normalised := 0.0
	for place := range weights {
		if weights[place] > 0 {
			normalised += gains[place] / weights[place]
		}
	}
	for _, l := range o.lists {
		q := model.other(l.user)
		var a, b, c, d float64
		for place, ch := range l.choices {
			a += ch.gain
			b += ch.weight * ch.gain
			if weights[place] > 0 { // the ratio's linearisation
				c += ch.weight * (ch.gain - gains[place]/weights[place]) / (weights[place] / float64(len(o.lists)))
			}
			d += q.at(ch.wanted, place) + ch.weight*(ch.gain-q.at(ch.shown, place))
		}
		served.add(l.user, a)
		ips.add(l.user, b)
		snips.add(l.user, normalised+c)
		dr.add(l.user, d)
		gain.add(l.user, d-a)
	}
	o.Logged, o.IPS, o.SNIPS, o.DR, o.Gain = served.interval(), ips.interval(), snips.interval(), dr.interval(), gain.interval()
}

// clusters sums values and lists by user: lists of one user are not independent.
type clusters struct {
	index map[uint64]int
	users [][4]float64 // as stats.Moments takes them
}

func (c *clusters) add(user uint64, x float64) {
	i, ok := c.index[user]
	if !ok {
		if c.index == nil {
			c.index = map[uint64]int{}
		}
		i = len(c.users)
		c.index[user] = i
		c.users = append(c.users, [4]float64{})
	}
	c.users[i][stats.Num] += x
	c.users[i][stats.Den]++
}

// ratio is the mean per list, with the delta method's standard error over users.
func (c *clusters) ratio() stats.Estimate {
	var m stats.Moments
	for _, u := range c.users {
		m.Add(u)
	}
	return m.Ratio()
}

func (c *clusters) interval() *stats.Interval {
	e := c.ratio()
	low, high := stats.Difference{Value: e.Value, SE: e.SE, DF: e.N - 1, N: e.N}.Interval(0.05)
	return &stats.Interval{Mean: e.Value, Low: low, High: high, N: int(e.N)}
}
