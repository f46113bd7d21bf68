package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"relish/internal/stats"
)

// comparer computes the metrics of the arms and their differences to the control.
type comparer struct {
	*collector
	order []int   // arm numbers, control first, then by name
	alpha float64 // for one arm: Bonferroni's share, so that all intervals hold together

	buffer []userSlice
}

// analyzeArms fills in the report of an A/B experiment.
func (c *collector) analyzeArms(r *Report) {
	k := &comparer{collector: c, order: c.armOrder()}
	k.alpha = c.opt.Alpha / float64(max(1, len(k.order)-1))
	r.Control = c.arms.list[k.order[0]]
	k.armTotals(r)
	r.SampleRatio = k.checkSampleRatio()
	plain, adjusted, theta := k.estimates(r)
	r.Theta, r.VarianceSaved = Float(theta), Float(varianceSaved(plain, adjusted))
	best := stats.ProbabilityBest(higherIsBetter(c.metric, adjusted))
	for i := range r.Arms {
		a := &r.Arms[i]
		a.Value, a.Adjusted = Float(plain[i].Value), Float(adjusted[i].Value)
		a.SE, a.ProbabilityBest = Float(adjusted[i].SE), Float(best[i])
	}
	var ps, seqs []float64
	for i := 1; i < len(adjusted); i++ {
		one := k.compare(adjusted[0], adjusted[i], c.metric)
		one.Arm = r.Arms[i].Name
		r.Comparisons = append(r.Comparisons, one)
		ps, seqs = append(ps, float64(one.P)), append(seqs, float64(one.SequentialP))
	}
	for i, p := range stats.Holm(ps) {
		r.Comparisons[i].PHolm = Float(p)
		r.Comparisons[i].SequentialP = Float(min(1, seqs[i]*float64(len(seqs))))
		r.Comparisons[i].Guardrails = k.guardrails(k.order[0], k.order[i+1], r)
	}
	if c.metric.ratio != nil {
		r.Series = append(r.Series, k.series(r)...)
		r.Segments = append(r.Segments, k.segmentLifts(r)...)
		r.Histogram = append(r.Histogram, k.histogram()...)
	}
	decide(r, &c.opt, c.metric)
}

// armOrder returns the arm numbers, control first, then by name. The control is the configured one,
// else the arm called control, else the first by name.
func (c *collector) armOrder() []int {
	order := make([]int, len(c.arms.list))
	for i := range order {
		order[i] = i
	}
	control := cmp.Or(c.opt.Control, "control")
	slices.SortFunc(order, func(a, b int) int {
		x, y := c.arms.list[a], c.arms.list[b]
		if (x == control) != (y == control) {
			if x == control {
				return -1
			}
			return 1
		}
		return cmp.Compare(x, y)
	})
	return order
}

// armTotals fills in what the arms' users did.
func (k *comparer) armTotals(r *Report) {
	r.Arms = make([]Arm, len(k.order))
	at := map[int16]*Arm{}
	for i, arm := range k.order {
		r.Arms[i].Name = k.arms.list[arm]
		at[int16(arm)] = &r.Arms[i]
	}
	for i := range k.users {
		u := &k.users[i]
		if !u.inWindow || u.crossed {
			continue
		}
		a, counts := at[u.arm], k.countsOf(i, exposedPeriod)
		a.Users++
		a.Impressions += float64(counts[slotLists])
		a.Fallbacks += float64(counts[slotFallback])
		a.Clicks += float64(counts[slotClicks])
		a.Conversions += float64(counts[slotPurchases])
		a.Revenue += float64(counts[slotRevenue])
	}
}

// estimates returns the arms' metric in report order, as measured and after CUPED, and CUPED's
// theta.
func (k *comparer) estimates(r *Report) (plain, adjusted []stats.Estimate, theta float64) {
	if k.metric.ratio == nil {
		for i, arm := range k.order {
			e, ok := k.groups.estimate(k.metric, arm, float64(r.Arms[i].Users))
			if !ok {
				e = stats.Estimate{Value: math.NaN(), SE: math.NaN()}
			}
			plain = append(plain, e)
		}
		return plain, plain, 0
	}
	return k.fromMoments(k.moments())
}

// fromMoments turns moments by arm number into estimates in report order.
func (k *comparer) fromMoments(
	byArm []stats.Moments,
) (plain, adjusted []stats.Estimate, theta float64) {
	arms := make([]*stats.Moments, len(k.order))
	for i, arm := range k.order {
		arms[i] = &stats.Moments{}
		if arm < len(byArm) {
			arms[i] = &byArm[arm]
		}
		plain = append(plain, arms[i].Ratio())
	}
	theta, adjusted = stats.CUPED(arms)
	return plain, adjusted, theta
}

// varianceSaved returns the share of the variance that CUPED removes, 0 to 1.
func varianceSaved(plain, adjusted []stats.Estimate) float64 {
	var before, after float64
	for i := range plain {
		before, after = before+plain[i].SE*plain[i].SE, after+adjusted[i].SE*adjusted[i].SE
	}
	return 1 - after/before
}

// higherIsBetter negates the estimates of a metric of which less is better.
func higherIsBetter(m metric, arms []stats.Estimate) []stats.Estimate {
	out := slices.Clone(arms)
	if m.lowerIsBetter {
		for i := range out {
			out[i].Value = -out[i].Value
		}
	}
	return out
}

// compare compares an arm with the control.
func (k *comparer) compare(control, arm stats.Estimate, m metric) Comparison {
	abs, rel := difference(control, arm, m)
	return Comparison{
		Difference:  k.rangeOf(abs),
		Lift:        k.rangeOf(rel),
		P:           Float(abs.PValue()),
		SequentialP: Float(abs.SequentialPValue()),
		raw:         rel,
	}
}

// difference returns the absolute and the relative difference. A metric that is estimated from
// groups of users has at most groupCount-1 degrees of freedom.
func difference(control, arm stats.Estimate, m metric) (abs, rel stats.Difference) {
	abs, rel = stats.AbsoluteDifference(control, arm), stats.RelativeDifference(control, arm)
	if m.ratio == nil {
		abs.DF, rel.DF = min(abs.DF, groupCount-1), min(rel.DF, groupCount-1)
	}
	return abs, rel
}

// rangeOf returns the difference with its intervals at level 1-alpha.
func (k *comparer) rangeOf(d stats.Difference) Range {
	low, high := d.Interval(k.alpha)
	seqLow, seqHigh := d.SequentialInterval(k.alpha)
	return Range{Float(d.Value), Float(low), Float(high), Float(seqLow), Float(seqHigh)}
}

// lifts returns the lifts of all arms over the control, after CUPED.
func (k *comparer) lifts(byArm []stats.Moments) (ranges []Range, raw []stats.Difference) {
	_, adjusted, _ := k.fromMoments(byArm)
	for _, arm := range adjusted[1:] {
		_, rel := difference(adjusted[0], arm, k.metric)
		ranges, raw = append(ranges, k.rangeOf(rel)), append(raw, rel)
	}
	return ranges, raw
}

// Interleaving is the result of an interleaving experiment. Each list is drafted from the rankings
// of two arms, and a click is a vote for the arm that placed the item (Radlinski, Kurup and
// Joachims, How does clickthrough data reflect retrieval quality?, CIKM 2008; Chapelle, Joachims,
// Radlinski and Yue, Large-scale validation and analysis of interleaved search evaluation, TOIS
// 2012).
//
// It says which arm is better, not by how much.
type Interleaving struct {
	Arms   [2]string  `json:"arms"` // control first
	Users  int        `json:"users"`
	Voters int        `json:"voters"` // users with a click on either arm's items
	Clicks [2]float64 `json:"clicks"`
	Wins   [2]int     `json:"wins"` // voters with more clicks on that arm's items
	Ties   int        `json:"ties"`
	// Preference is the mean over voters of (clicks on the second arm's items - clicks on the first
	// arm's items) / (all their clicks). 0 is no preference, 1 is always the second arm.
	Preference  Range `json:"preference"`
	P           Float `json:"p"`            // paired t-test of no preference
	SignP       Float `json:"p_sign"`       // exact sign test over the voters with a preference
	SequentialP Float `json:"p_sequential"` // valid at any look
}

// analyzeInterleaving fills in the report of an interleaving experiment.
func (c *collector) analyzeInterleaving(r *Report) {
	in := &Interleaving{Arms: c.interleavedArms}
	var votes stats.Moments
	for i := range c.users {
		u := &c.users[i]
		if !u.inWindow || u.crossed {
			continue
		}
		in.Users++
		a, b := float64(u.credit[0]), float64(u.credit[1])
		if a+b == 0 {
			continue
		}
		in.Voters++
		in.Clicks[0], in.Clicks[1] = in.Clicks[0]+a, in.Clicks[1]+b
		switch {
		case a > b:
			in.Wins[0]++
		case b > a:
			in.Wins[1]++
		default:
			in.Ties++
		}
		votes.Add([4]float64{stats.Numerator: (b - a) / (a + b), stats.Denominator: 1})
	}
	k := comparer{collector: c, alpha: c.opt.Alpha}
	e := votes.Ratio()
	d := stats.Difference{Value: e.Value, SE: e.SE, DF: e.N - 1, N: e.N}
	in.Preference = k.rangeOf(d)
	in.P, in.SequentialP = Float(d.PValue()), Float(d.SequentialPValue())
	in.SignP = Float(stats.SignTest(float64(in.Wins[1]), float64(in.Wins[0]+in.Wins[1])))
	r.Control, r.Interleaving = in.Arms[0], in
	r.Decision = c.decideInterleaving(in, d, r.Days)
}

// decideInterleaving decides by the sequential interval of the preference.
func (c *collector) decideInterleaving(in *Interleaving, d stats.Difference, days int) Decision {
	low, high := float64(in.Preference.SeqLow), float64(in.Preference.SeqHigh)
	votes := fmt.Sprintf("%d of %d voters clicked more on %s's items, %d on %s's",
		in.Wins[1], in.Voters, in.Arms[1], in.Wins[0], in.Arms[0])
	switch {
	case in.Voters < minUsers || math.IsNaN(low):
		return Decision{
			Action:   KeepRunning,
			DaysToGo: days,
			Summary: fmt.Sprintf("Keep running: %d users clicked so far, %d are needed.",
				in.Voters, minUsers),
		}
	case low > 0:
		return Decision{
			Action: Ship,
			Arm:    in.Arms[1],
			Summary: fmt.Sprintf("Users prefer %s: %s. Both arms share every list, so this says "+
				"nothing about guardrails such as latency. An A/B experiment measures them and "+
				"the lift.", in.Arms[1], votes),
		}
	case high < 0:
		return Decision{
			Action:  Stop,
			Summary: fmt.Sprintf("Users prefer %s: %s. Stop, and keep it.", in.Arms[0], votes),
		}
	}
	effect := max(math.Abs(d.Value), c.opt.MinEffect)
	left := remainingDays(d.UnitsToDecide(effect, c.opt.Alpha, c.opt.Power), d.N, days)
	return Decision{
		Action:   KeepRunning,
		DaysToGo: left,
		Summary: fmt.Sprintf("Keep running for %s: %s, which may be chance.",
			formatDays(left), votes),
	}
}
