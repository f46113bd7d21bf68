package analysis

import "relish/internal/stats"

// dayEnd is how the arms stood at the end of a day.
type dayEnd struct {
	day  int32 // since 1970
	arms []stats.Moments
}

func dayOf(at int64) int32 { return int32(at / dayMillis) }

const dayMillis = 24 * 60 * 60 * 1000

// openDay notes the time of something that counts, and closes the user's and the experiment's day where
// a later one begins.
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

// closeUserDay counts user i's open day as done.
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

// dayMoments returns a day's moments of an arm. What lies before the first day counts on it.
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

// closeDay notes how the arms stand.
func (c *collector) closeDay() {
	if c.last != 0 && c.metric.ratio != nil {
		c.dayEnds = append(c.dayEnds, dayEnd{day: c.currentDay, arms: c.moments()})
	}
}

// momentVariables are a user's metric now and before, as stats.Moments takes them.
func (c *collector) momentVariables(now, pre []float32) (x [4]float64) {
	x[stats.Numerator], x[stats.Denominator] = c.metric.ratio(now)
	if pre != nil {
		x[stats.PreNumerator], x[stats.PreDenominator] = c.metric.ratio(pre)
	}
	return x
}

// moments are the metric's over all users that count, by arm.
func (c *collector) moments() []stats.Moments {
	arms := make([]stats.Moments, len(c.arms.list))
	for i := range c.users {
		if u := &c.users[i]; u.inWindow && !u.crossed {
			arms[u.arm].Add(c.momentVariables(c.countsOf(i, exposedPeriod), c.countsOf(i, prePeriod)))
		}
	}
	return arms
}
