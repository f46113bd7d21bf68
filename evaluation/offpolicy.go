package evaluation

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

// OffPolicyEstimate says what a ranker would have earned on lists that another one served, with some exploration.
//
// The value is the gain (Options.Gains) of the first K places per list. It is taken that what an item
// gains at a place does not hang on the items around it (the item-position model: Li, Abbasi-Yadkori,
// Kveton, Muthukrishnan, Vinay, Wen: Offline Evaluation of Ranking Policies with Click Models, KDD
// 2018). Then a place of a logged list speaks for the ranker where both have the same item there, with
// the weight 1 / P(item at this place), which follows exactly from the logged Plackett-Luce
// propensities. So one list in n speaks for each of K places, not one in n^K for the whole.
type OffPolicyEstimate struct {
	Policy string `json:"policy"`
	K      int    `json:"k"`
	Lists  int    `json:"lists"` // scored
	// Lists left out: not explored (or interleaved), or cut off within the explored places.
	Unexplored int `json:"unexplored"`
	Truncated  int `json:"cut"`
	// Refused says why there are no estimates, "" where there are.
	Refused string `json:"refused,omitempty"`
	// EffectiveLists is how many lists the weights are worth: Kish's (sum w)^2 / sum w^2 of the lists' mean
	// weights, 0 where nothing overlaps.
	EffectiveLists float64 `json:"effective_lists"`
	// Unsupported is the share of the ranker's places that the log could never have shown.
	Unsupported float64 `json:"unsupported"`
	MeanWeight  float64 `json:"mean_weight"` // 1 less Unsupported, if the propensities are right

	Logged *stats.Interval `json:"logged,omitempty"` // what was earned
	// IPS: inverse propensity scoring (Horvitz and Thompson 1952), unbiased. SNIPS: normalised by the
	// weights of each place (Swaminathan and Joachims, NIPS 2015), steadier. DR: doubly robust (Dudik,
	// Langford, Li, ICML 2011) with a model of gain by item and place from other users' lists.
	IPS           *stats.Interval `json:"ips,omitempty"`
	SNIPS         *stats.Interval `json:"snips,omitempty"`
	DR            *stats.Interval `json:"dr,omitempty"`
	DRMinusLogged *stats.Interval `json:"dr_minus_logged,omitempty"` // paired, on the same lists
}

// When estimates are refused.
const (
	minEffectiveLists = 100
	maxUnsupported    = 0.05
	maxWeightError    = 4.5 // standard errors of the mean weight
)

// loggedPosition is one place of a list: what was shown there, what the ranker would show, and what it tells.
type loggedPosition struct {
	shown, target int32 // item numbers
	weight, gain  float64
}

type loggedList struct {
	user      uint64 // hash of the id
	positions []loggedPosition
}

// offPolicyEstimator gathers the lists.
type offPolicyEstimator struct {
	OffPolicyEstimate
	itemCount            int
	lists                []loggedList
	unsupportedPositions int
	rng                  *rand.Rand
}

// EstimateOffPolicy walks the log as Run does and estimates the policy's value on the lists of the scored part,
// clicked or not. Intervals are 95 %, clustered by user. The error is about the log or the policy; too
// little overlap is no error but a refusal in the result.
func EstimateOffPolicy(ctx context.Context, src replay.Source, state *features.State, opt Options, policy Scorer) (*OffPolicyEstimate, error) {
	if opt.TestShare <= 0 || opt.TestShare > 1 {
		return nil, fmt.Errorf("the share of the newest lists is %g; it must be above 0 and at most 1", opt.TestShare)
	}
	if opt.K == 0 {
		opt.K = 10
	}
	log, err := replay.Scan(ctx, src, replay.Options{State: state.Config(), Gains: opt.Gains})
	if err != nil {
		return nil, err
	}
	from, err := log.HoldoutStart(opt.TestShare)
	if err != nil {
		return nil, err
	}
	o := &offPolicyEstimator{OffPolicyEstimate: OffPolicyEstimate{Policy: policy.Name(), K: opt.K}, itemCount: log.Items.Len(), rng: rand.New(rand.NewPCG(opt.Seed, 4))}
	walk := replay.WalkOptions{FreezeState: !opt.Prequential, Progress: opt.Progress}
	err = log.Walk(ctx, src, state, log.Impressions(from, math.MaxUint64), walk, func(c *replay.Example) error { return o.addList(ctx, c, policy) })
	if err != nil {
		return nil, err
	}
	if o.Refused = o.refusalReason(); o.Refused == "" {
		o.estimate()
	}
	return &o.OffPolicyEstimate, nil
}

// addList weighs one list.
func (o *offPolicyEstimator) addList(ctx context.Context, c *replay.Example, policy Scorer) error {
	propensity := c.Propensity
	if c.Answer != nil && c.Answer.Interleaved != nil {
		propensity = nil // it is given the teams, which says another thing
	}
	x, whole := recoverPlackettLuce(propensity)
	switch {
	case len(x.positions) == 0:
		o.Unexplored++
		return nil
	case !whole:
		o.Truncated++
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
	drawn := make(map[int]int, len(x.positions)) // place -> draw
	for k, place := range x.positions {
		drawn[place] = k
	}
	l := loggedList{user: xxhash.Sum64String(c.Request.User)}
	for place := range min(o.K, len(order)) {
		wanted := order[place] // the candidates are in the order shown: also a place
		ch := loggedPosition{shown: c.Items[place], target: c.Items[wanted], gain: float64(c.Gains[place])}
		k, random := drawn[place]
		switch _, other := drawn[wanted]; {
		case random != other, !random && wanted != place:
			o.unsupportedPositions++
		case wanted == place && random:
			ch.weight = 1 / x.marginal(k)
		case wanted == place:
			ch.weight = 1
		}
		l.positions = append(l.positions, ch)
	}
	o.lists = append(o.lists, l)
	return nil
}

// refusalReason judges the overlap.
func (o *offPolicyEstimator) refusalReason() string {
	o.Lists = len(o.lists)
	if o.Lists == 0 {
		return fmt.Sprintf("no list was explored (%d were not, %d were cut off): an order that was always shown says nothing of others. "+
			"Serve with rules.exploration for a while", o.Unexplored, o.Truncated)
	}
	var sum, squares, places float64
	var mean userClusters
	for _, l := range o.lists {
		w := 0.0
		for _, c := range l.positions {
			w += c.weight
		}
		w /= float64(len(l.positions))
		sum, squares, places = sum+w, squares+w*w, places+float64(len(l.positions))
		mean.add(l.user, w)
	}
	if squares > 0 {
		o.EffectiveLists = sum * sum / squares
	}
	o.Unsupported = float64(o.unsupportedPositions) / places
	m := mean.mean()
	o.MeanWeight = m.Value
	switch {
	case o.Unsupported > maxUnsupported:
		return fmt.Sprintf("%.0f %% of the places hold items that the log could never have shown there; look at fewer places (-k), or explore more of them", 100*o.Unsupported)
	case o.EffectiveLists < minEffectiveLists:
		return fmt.Sprintf("the log's lists agree too rarely with this ranker: they are worth %.0f lists, %d are needed. Explore with a higher temperature, or longer", o.EffectiveLists, minEffectiveLists)
	case math.Abs(m.Value-(1-o.Unsupported)) > maxWeightError*m.SE+0.02:
		return fmt.Sprintf("the weights have mean %.3f where %.3f is due: the logged propensities do not describe how these lists were drawn", m.Value, 1-o.Unsupported)
	}
	return ""
}

// estimate fills in the estimates.
func (o *offPolicyEstimator) estimate() {
	model := fitGainModels(o.lists, o.itemCount, o.K)
	var weights, gains []float64 // by place: sums for SNIPS
	for range o.K {
		weights, gains = append(weights, 0), append(gains, 0)
	}
	for _, l := range o.lists {
		for place, c := range l.positions {
			weights[place] += c.weight
			gains[place] += c.weight * c.gain
		}
	}
	var served, ips, snips, dr, gain userClusters
	normalised := 0.0
	for place := range weights {
		if weights[place] > 0 {
			normalised += gains[place] / weights[place]
		}
	}
	for _, l := range o.lists {
		q := model.without(l.user)
		var a, b, c, d float64
		for place, ch := range l.positions {
			a += ch.gain
			b += ch.weight * ch.gain
			if weights[place] > 0 { // the ratio's linearisation
				c += ch.weight * (ch.gain - gains[place]/weights[place]) / (weights[place] / float64(len(o.lists)))
			}
			d += q.predict(ch.target, place) + ch.weight*(ch.gain-q.predict(ch.shown, place))
		}
		served.add(l.user, a)
		ips.add(l.user, b)
		snips.add(l.user, normalised+c)
		dr.add(l.user, d)
		gain.add(l.user, d-a)
	}
	o.Logged, o.IPS, o.SNIPS, o.DR, o.DRMinusLogged = served.interval(), ips.interval(), snips.interval(), dr.interval(), gain.interval()
}

// userClusters sums values and lists by user: lists of one user are not independent.
type userClusters struct {
	index map[uint64]int
	users [][4]float64 // as stats.Moments takes them
}

func (c *userClusters) add(user uint64, x float64) {
	i, ok := c.index[user]
	if !ok {
		if c.index == nil {
			c.index = map[uint64]int{}
		}
		i = len(c.users)
		c.index[user] = i
		c.users = append(c.users, [4]float64{})
	}
	c.users[i][stats.Numerator] += x
	c.users[i][stats.Denominator]++
}

// mean is the mean per list, with the delta method's standard error over users.
func (c *userClusters) mean() stats.Estimate {
	var m stats.Moments
	for _, u := range c.users {
		m.Add(u)
	}
	return m.Ratio()
}

func (c *userClusters) interval() *stats.Interval {
	e := c.mean()
	low, high := stats.Difference{Value: e.Value, SE: e.SE, DF: e.N - 1, N: e.N}.Interval(0.05)
	return &stats.Interval{Mean: e.Value, Low: low, High: high, N: int(e.N)}
}
