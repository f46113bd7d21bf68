package evaluation

import "relish/internal/stats"

// estimate fills in the estimates of OffPolicyEstimate, each the mean over lists.
func (o *offPolicyEstimator) estimate() {
	model := fitGainModels(o.lists, o.itemCount, o.K)
	weights, gains := make([]float64, o.K), make([]float64, o.K) // by position: sums for SNIPS
	for _, l := range o.lists {
		for i, p := range l.positions {
			weights[i] += p.weight
			gains[i] += p.weight * p.gain
		}
	}
	selfNormalised := 0.0
	for i := range weights {
		if weights[i] > 0 {
			selfNormalised += gains[i] / weights[i]
		}
	}
	n := float64(len(o.lists))
	var logged, ips, snips, dr, drMinusLogged userClusters
	for _, l := range o.lists {
		q := model.without(l.user)
		var served, weighted, deviation, robust float64
		for i, p := range l.positions {
			served += p.gain
			weighted += p.weight * p.gain
			if weights[i] > 0 { // linearisation of the ratio gains/weights
				deviation += p.weight * (p.gain - gains[i]/weights[i]) / (weights[i] / n)
			}
			robust += q.predict(p.target, i) + p.weight*(p.gain-q.predict(p.shown, i))
		}
		logged.add(l.user, served)
		ips.add(l.user, weighted)
		snips.add(l.user, selfNormalised+deviation)
		dr.add(l.user, robust)
		drMinusLogged.add(l.user, robust-served)
	}
	o.Logged, o.IPS, o.SNIPS = logged.interval(), ips.interval(), snips.interval()
	o.DR, o.DRMinusLogged = dr.interval(), drMinusLogged.interval()
}

// gainModel predicts an item's gain at a position: the position's mean gain times the item's own
// factor. The factor compares the item with the positions where it was shown, and is shrunk towards
// 1 for items with little data.
type gainModel struct {
	byPosition []float64
	byItem     []float64
}

func (m *gainModel) predict(item int32, position int) float64 {
	return m.byPosition[position] * m.byItem[item]
}

// crossFittedGains are two models, each fitted on half of the users.
type crossFittedGains [2]gainModel

// without returns the model that has not seen the user. The other one would have learned the
// outcomes that it is to predict.
func (m *crossFittedGains) without(user uint64) *gainModel { return &m[1-user&1] }

// gainPriorStrength is the expected gain at which an item's own data weigh as much as the prior.
const gainPriorStrength = 2.0

func fitGainModels(lists []loggedList, items, positions int) *crossFittedGains {
	var out crossFittedGains
	for half := range out {
		out[half] = fitGainModel(lists, uint64(half), items, positions)
	}
	return &out
}

// fitGainModel fits a model on the users whose hash ends in the bit half.
func fitGainModel(lists []loggedList, half uint64, items, positions int) gainModel {
	m := gainModel{byPosition: make([]float64, positions), byItem: make([]float64, items)}
	shown := make([]float64, positions)
	for _, l := range lists {
		if l.user&1 != half {
			continue
		}
		for i, p := range l.positions {
			shown[i]++
			m.byPosition[i] += p.gain
		}
	}
	for i := range m.byPosition {
		m.byPosition[i] /= max(1, shown[i])
	}
	expected := make([]float64, items)
	for _, l := range lists {
		if l.user&1 != half {
			continue
		}
		for i, p := range l.positions {
			expected[p.shown] += m.byPosition[i]
			m.byItem[p.shown] += p.gain
		}
	}
	for i := range m.byItem {
		m.byItem[i] = (m.byItem[i] + gainPriorStrength) / (expected[i] + gainPriorStrength)
	}
	return m
}

// userClusters sums values and lists by user, because lists of one user are not independent.
type userClusters struct {
	index map[uint64]int
	users [][4]float64 // rows for stats.Moments
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

// mean returns the mean per list, with the delta method's standard error over users.
func (c *userClusters) mean() stats.Estimate {
	var m stats.Moments
	for _, u := range c.users {
		m.Add(u)
	}
	return m.Ratio()
}

func (c *userClusters) interval() *stats.Interval {
	e := c.mean()
	d := stats.Difference{Value: e.Value, SE: e.SE, DF: e.N - 1, N: e.N}
	low, high := d.Interval(0.05)
	return &stats.Interval{Mean: e.Value, Low: low, High: high, N: int(e.N)}
}
