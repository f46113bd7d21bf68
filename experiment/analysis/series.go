package analysis

import (
	"cmp"
	"math"
	"slices"

	"relish/internal/stats"
)

// DayPoint is one day: what each arm's active users did on it, and how the arms stood at its end.
type DayPoint struct {
	Day        string  `json:"day"`   // UTC, 2006-01-02
	Value      []Float `json:"value"` // the metric on that day, aligned with Report.Arms
	Lift       []Range `json:"lift"`  // of that day alone, not adjusted, aligned with Report.Comparisons
	Cumulative []Range `json:"total"` // of everything up to its end, as the verdict sees it, likewise
}

// Novelty is whether the effect changes with the days: the slope of the daily lifts. Users come back
// on several days, so the p-value is a rough one, and only a small one is taken as a sign.
type Novelty struct {
	Slope    Float `json:"slope_per_day"`
	P        Float `json:"p"`
	WearsOff bool  `json:"wears_off"` // the slope is against the effect, beyond chance
}

// noveltyAlpha and noveltyMinDays are when a slope is taken as a sign.
const (
	noveltyAlpha   = 0.01
	noveltyMinDays = 5
)

// series fills in the days, and each comparison's novelty.
func (k *comparer) series(r *Report) []DayPoint {
	var out []DayPoint
	daily := make([][]stats.Difference, len(r.Comparisons))
	var at []float64
	for _, end := range k.dayEnds {
		p := DayPoint{Day: formatDay(end.day)}
		p.Cumulative, _ = k.lifts(end.arms)
		var alone []stats.Moments
		if d := int(end.day - k.firstDay); d >= 0 && d < len(k.dailyMoments) {
			alone = k.dailyMoments[d]
		}
		var raw []stats.Difference
		p.Lift, raw = k.lifts(alone)
		plain, _, _ := k.fromMoments(alone)
		for _, e := range plain {
			p.Value = append(p.Value, Float(e.Value))
		}
		for i := range daily {
			daily[i] = append(daily[i], raw[i])
		}
		at = append(at, float64(end.day-k.firstDay))
		out = append(out, p)
	}
	for i := range r.Comparisons {
		r.Comparisons[i].Novelty = novelty(at, daily[i], float64(r.Comparisons[i].Lift.Value))
	}
	return out
}

func novelty(at []float64, lifts []stats.Difference, effect float64) Novelty {
	slope := stats.WeightedSlope(at, lifts)
	n := Novelty{Slope: Float(slope.Value), P: Float(slope.PValue())}
	n.WearsOff = len(at) >= noveltyMinDays && slope.PValue() < noveltyAlpha && slope.Value*effect < 0
	return n
}

// Segment is a comparison among users with something in common. Segments are looked at to find out, not
// to decide: their p-values are corrected for their number (Benjamini-Hochberg).
type Segment struct {
	Name  string  `json:"name"`
	Arm   string  `json:"arm"`
	Users []int   `json:"users"` // in control and in the arm
	Lift  Range   `json:"lift"`
	P     Float   `json:"p"` // corrected
	raw   float64 // before the correction
}

// minUsers is how many an arm must have in a segment for the comparison to mean anything.
const minUsers = 30

func (k *comparer) segmentLifts(r *Report) []Segment {
	by := map[userSlice][]stats.Moments{}
	for i := range k.users {
		u := &k.users[i]
		if !u.inWindow || u.crossed {
			continue
		}
		for _, s := range k.slicesOf(u) {
			if s.dimension < 0 && s.dimension != byKnown {
				continue
			}
			if by[s] == nil {
				by[s] = make([]stats.Moments, len(k.arms.list))
			}
			by[s][u.arm].Add(k.momentVariables(k.countsOf(i, exposedPeriod), k.countsOf(i, prePeriod)))
		}
	}
	var out []Segment
	for s, moments := range by {
		if s.dimension >= 0 && len(k.segments[s.dimension].list) < 2 {
			continue // everybody
		}
		_, adjusted, _ := k.fromMoments(moments)
		for i, arm := range adjusted[1:] {
			if arm.N < minUsers || adjusted[0].N < minUsers {
				continue
			}
			abs, rel := difference(adjusted[0], arm, k.metric)
			out = append(out, Segment{Name: k.sliceName(s), Arm: r.Comparisons[i].Arm, Users: []int{int(adjusted[0].N), int(arm.N)},
				Lift: k.rangeOf(rel), raw: abs.PValue()})
		}
	}
	slices.SortFunc(out, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arm, b.Arm))
	})
	ps := make([]float64, len(out))
	for i := range out {
		ps[i] = out[i].raw
	}
	for i, p := range stats.BenjaminiHochberg(ps) {
		out[i].P = Float(p)
	}
	return out
}

// HistogramBin is a bar of the histogram of users' own values.
type HistogramBin struct {
	From  Float   `json:"from"`
	To    Float   `json:"to"`
	Share []Float `json:"share"` // of the arm's users, aligned with Report.Arms
}

const histogramBins = 20

// histogram shows how users' own values are spread, from the smallest to the 99th percentile; what is
// beyond counts in the last bar.
func (k *comparer) histogram() []HistogramBin {
	values := make([][]float64, len(k.arms.list))
	var all []float64
	for i := range k.users {
		u := &k.users[i]
		if !u.inWindow || u.crossed {
			continue
		}
		if num, den := k.metric.ratio(k.countsOf(i, exposedPeriod)); den != 0 {
			values[u.arm] = append(values[u.arm], num/den)
			all = append(all, num/den)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	low, high := all[0], all[len(all)*99/100]
	width := (high - low) / histogramBins
	if width == 0 {
		width = 1
	}
	out := make([]HistogramBin, histogramBins)
	for b := range out {
		out[b] = HistogramBin{From: Float(low + float64(b)*width), To: Float(low + float64(b+1)*width), Share: make([]Float, len(k.order))}
	}
	for i, arm := range k.order {
		for _, x := range values[arm] {
			b := min(histogramBins-1, int(math.Floor((x-low)/width)))
			out[b].Share[i] += 1 / Float(len(values[arm]))
		}
	}
	return out
}
