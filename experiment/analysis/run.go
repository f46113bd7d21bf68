package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"relish/internal/stats"
)

// Errors of Run, beside the log's own and the context's.
var (
	// ErrInvalidOptions: what is asked for cannot be reported on; the message says why.
	ErrInvalidOptions = errors.New("no report")
	// ErrNoExposure: nobody in the log was exposed to the experiment in the time asked for.
	ErrNoExposure = errors.New("no exposure")
)

// Run reads the log once and reports on one experiment. The error is about the options, the log (its
// damage too: a report on a part of the log would be a report on another experiment), or about an
// experiment that the log does not know; what is wrong with the data is in the report.
func Run(ctx context.Context, src Source, opt Options) (*Report, error) {
	opt = opt.withDefaults()
	if err := opt.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidOptions, err)
	}
	c, err := newCollector(opt)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidOptions, err)
	}
	if err := c.readLog(ctx, src); err != nil {
		return nil, err
	}
	if c.last == 0 {
		return nil, fmt.Errorf("%w: no impression of the log is exposed to experiment %q in this time; "+
			"is the name right, and has it run?", ErrNoExposure, opt.Experiment)
	}
	r := &Report{Experiment: opt.Experiment, Mode: "ab", Metric: opt.Metric, MetricDescription: c.metric.description, Unit: opt.Unit, Alpha: opt.Alpha,
		From: time.UnixMilli(c.first).UTC(), To: time.UnixMilli(c.last).UTC(), Records: c.records, Unmatched: c.unmatched,
		Arms: []Arm{}, Comparisons: []Comparison{}, Series: []DayPoint{}, Segments: []Segment{}, Histogram: []HistogramBin{},
		SampleRatio: SampleRatio{Expected: []Float{}, Causes: []SRMCause{}}}
	r.Days = int(dayOf(c.last)-dayOf(c.first)) + 1
	if c.interleavedArms[0] != "" {
		r.Mode, r.Metric, r.MetricDescription = "interleave", "preference", "clicks on each arm's items"
		c.analyzeInterleaving(r)
		return r, nil
	}
	c.analyzeArms(r)
	return r, nil
}

// comparer knows what all comparisons of a report share.
type comparer struct {
	*collector
	order []int   // arm numbers, control first, then by name
	alpha float64 // of one arm: Bonferroni's share, so that all intervals hold together

	buffer []userSlice
}

// analyzeArms fills the report of an A/B experiment.
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
		r.Arms[i].Value, r.Arms[i].Adjusted, r.Arms[i].SE = Float(plain[i].Value), Float(adjusted[i].Value), Float(adjusted[i].SE)
		r.Arms[i].ProbabilityBest = Float(best[i])
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

// armOrder puts the control first: the configured one, else the arm of that name, else the first.
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

// estimates are the arms' values in report order, as they are and adjusted.
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
func (k *comparer) fromMoments(byArm []stats.Moments) (plain, adjusted []stats.Estimate, theta float64) {
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

// varianceSaved is the share of the variance that the users' past explains.
func varianceSaved(plain, adjusted []stats.Estimate) float64 {
	var before, after float64
	for i := range plain {
		before, after = before+plain[i].SE*plain[i].SE, after+adjusted[i].SE*adjusted[i].SE
	}
	return 1 - after/before
}

// higherIsBetter turns estimates so that more is better.
func higherIsBetter(m metric, arms []stats.Estimate) []stats.Estimate {
	out := slices.Clone(arms)
	if m.lowerIsBetter {
		for i := range out {
			out[i].Value = -out[i].Value
		}
	}
	return out
}

// compare sets an arm against the control.
func (k *comparer) compare(control, arm stats.Estimate, m metric) Comparison {
	abs, rel := difference(control, arm, m)
	return Comparison{Difference: k.rangeOf(abs), Lift: k.rangeOf(rel), P: Float(abs.PValue()), SequentialP: Float(abs.SequentialPValue()), raw: rel}
}

// difference is absolute and relative. What comes from groups of users has no more degrees of freedom
// than groups.
func difference(control, arm stats.Estimate, m metric) (abs, rel stats.Difference) {
	abs, rel = stats.AbsoluteDifference(control, arm), stats.RelativeDifference(control, arm)
	if m.ratio == nil {
		abs.DF, rel.DF = min(abs.DF, groupCount-1), min(rel.DF, groupCount-1)
	}
	return abs, rel
}

func (k *comparer) rangeOf(d stats.Difference) Range {
	low, high := d.Interval(k.alpha)
	seqLow, seqHigh := d.SequentialInterval(k.alpha)
	return Range{Float(d.Value), Float(low), Float(high), Float(seqLow), Float(seqHigh)}
}

// lifts are all arms' lifts over the control, adjusted.
func (k *comparer) lifts(byArm []stats.Moments) (ranges []Range, raw []stats.Difference) {
	_, adjusted, _ := k.fromMoments(byArm)
	for _, arm := range adjusted[1:] {
		_, rel := difference(adjusted[0], arm, k.metric)
		ranges, raw = append(ranges, k.rangeOf(rel)), append(raw, rel)
	}
	return ranges, raw
}
