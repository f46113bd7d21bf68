package analysis

import (
	"cmp"
	"slices"

	"relish/internal/stats"
)

// dayEnd holds the arms' moments at the end of a day.
type dayEnd struct {
	day  int32 // days since 1970
	arms []stats.Moments
}

func dayOf(at int64) int32 { return int32(at / dayMillis) }

const dayMillis = 24 * 60 * 60 * 1000

// openDay records the time of something that counts. It closes the user's day and the experiment's
// day if a later one begins.
func (c *collector) openDay(i int, at int64) {
	day := dayOf(at)
	if c.last == 0 {
		c.currentDay, c.firstDay, c.first = day, day, at
	}
	c.first, c.last = min(c.first, at), max(c.last, at)
	if day > c.currentDay {
		c.closeDay()
		c.currentDay = day
	}
	if day > c.users[i].day {
		c.closeUserDay(i)
		c.users[i].day = day
	}
}

// closeUserDay adds user i's open day to the daily moments.
func (c *collector) closeUserDay(i int) {
	u, counts := &c.users[i], c.countsOf(i, dayPeriod)
	if !u.inWindow || c.metric.ratio == nil || !anyNonZero(counts) {
		return
	}
	if !u.crossed {
		c.dayMoments(u.day, int(u.arm)).Add(c.momentVariables(counts, nil))
	}
	clear(counts)
}

func anyNonZero(counts []float32) bool {
	for _, x := range counts {
		if x != 0 {
			return true
		}
	}
	return false
}

// dayMoments returns an arm's moments of a day. Anything before the first day counts for the first.
func (c *collector) dayMoments(day int32, arm int) *stats.Moments {
	d := max(0, int(day-c.firstDay))
	for len(c.dailyMoments) <= d {
		c.dailyMoments = append(c.dailyMoments, nil)
	}
	for len(c.dailyMoments[d]) <= arm {
		c.dailyMoments[d] = append(c.dailyMoments[d], stats.Moments{})
	}
	return &c.dailyMoments[d][arm]
}

// closeDay records the arms' moments at the end of the current day.
func (c *collector) closeDay() {
	if c.last != 0 && c.metric.ratio != nil {
		c.dayEnds = append(c.dayEnds, dayEnd{day: c.currentDay, arms: c.moments()})
	}
}

// momentVariables returns a user's metric now and before exposure, as a row of stats.Moments.
func (c *collector) momentVariables(now, pre []float32) (x [4]float64) {
	x[stats.Numerator], x[stats.Denominator] = c.metric.ratio(now)
	if pre != nil {
		x[stats.PreNumerator], x[stats.PreDenominator] = c.metric.ratio(pre)
	}
	return x
}

// moments returns the metric's moments over all counted users, by arm.
func (c *collector) moments() []stats.Moments {
	arms := make([]stats.Moments, len(c.arms.list))
	for i := range c.users {
		if u := &c.users[i]; u.inWindow && !u.crossed {
			now, pre := c.countsOf(i, exposedPeriod), c.countsOf(i, prePeriod)
			arms[u.arm].Add(c.momentVariables(now, pre))
		}
	}
	return arms
}

// DayPoint is one day of the experiment: what each arm's active users did on it, and how the arms
// compared at its end.
type DayPoint struct {
	Day   string  `json:"day"`   // UTC, 2006-01-02
	Value []Float `json:"value"` // the metric on that day, aligned with Report.Arms
	// Lift is of that day alone, without CUPED, aligned with Report.Comparisons.
	Lift []Range `json:"lift"`
	// Cumulative is the lift of everything up to the day's end, aligned with Report.Comparisons.
	// The decision uses the last one.
	Cumulative []Range `json:"total"`
}

// Novelty says whether the effect changes from day to day: the slope of the daily lifts. Users
// return on several days, so P is only approximate, and only a small one counts.
type Novelty struct {
	Slope    Float `json:"slope_per_day"`
	P        Float `json:"p"`
	WearsOff bool  `json:"wears_off"` // Slope is significant and against the effect
}

// A slope counts if its p-value is below noveltyAlpha after at least noveltyMinDays.
const (
	noveltyAlpha   = 0.01
	noveltyMinDays = 5
)

// series returns the days, and fills in the novelty of each comparison.
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
	n.WearsOff = len(at) >= noveltyMinDays && slope.PValue() < noveltyAlpha &&
		slope.Value*effect < 0
	return n
}

// Segment is a comparison within a slice of users. Segments are for exploration, not for the
// decision. Their p-values are corrected for their number (Benjamini-Hochberg).
type Segment struct {
	Name  string  `json:"name"`
	Arm   string  `json:"arm"`
	Users []int   `json:"users"` // in control and in the arm
	Lift  Range   `json:"lift"`
	P     Float   `json:"p"` // corrected
	raw   float64 // before the correction
}

// segmentLifts compares the arms within each segment that has at least minUsers in the arm and in
// the control.
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
			now, pre := k.countsOf(i, exposedPeriod), k.countsOf(i, prePeriod)
			by[s][u.arm].Add(k.momentVariables(now, pre))
		}
	}
	var out []Segment
	for s, moments := range by {
		if s.dimension >= 0 && len(k.segments[s.dimension].list) < 2 {
			continue // holds every user
		}
		_, adjusted, _ := k.fromMoments(moments)
		for i, arm := range adjusted[1:] {
			if arm.N < minUsers || adjusted[0].N < minUsers {
				continue
			}
			abs, rel := difference(adjusted[0], arm, k.metric)
			out = append(out, Segment{
				Name:  k.sliceName(s),
				Arm:   r.Comparisons[i].Arm,
				Users: []int{int(adjusted[0].N), int(arm.N)},
				Lift:  k.rangeOf(rel),
				raw:   abs.PValue(),
			})
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

// HistogramBin is one bin of the histogram of the users' own metric values.
type HistogramBin struct {
	From  Float   `json:"from"`
	To    Float   `json:"to"`
	Share []Float `json:"share"` // of the arm's users, aligned with Report.Arms
}

const histogramBins = 20

// histogram bins the users' own values, from the smallest to the 99th percentile. Larger values
// count in the last bin.
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
		out[b] = HistogramBin{
			From:  Float(low + float64(b)*width),
			To:    Float(low + float64(b+1)*width),
			Share: make([]Float, len(k.order)),
		}
	}
	for i, arm := range k.order {
		for _, x := range values[arm] {
			// The quotient may be larger than an int.
			b := int(min(histogramBins-1, (x-low)/width))
			out[b].Share[i] += 1 / Float(len(values[arm]))
		}
	}
	return out
}
