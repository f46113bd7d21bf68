package verdict

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
		c.today, c.firstDay, c.first = day, day, at
	}
	c.first, c.last = min(c.first, at), max(c.last, at)
	if day > c.today {
		c.endOfDay()
		c.today = day
	}
	if day > c.users[i].day {
		c.flush(i)
		c.users[i].day = day
	}
}

// flush counts user i's open day as done.
func (c *collector) flush(i int) {
	u, counts := &c.users[i], c.of(i, today)
	if !u.inWindow || c.metric.of == nil || !active(counts) {
		return
	}
	if !u.crossed {
		c.dayMoments(u.day, int(u.arm)).Add(c.variables(counts, nil))
	}
	clear(counts)
}

func active(counts []float32) bool {
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
	for len(c.days) <= d {
		c.days = append(c.days, nil)
	}
	for len(c.days[d]) <= arm {
		c.days[d] = append(c.days[d], stats.Moments{})
	}
	return &c.days[d][arm]
}

// endOfDay notes how the arms stand.
func (c *collector) endOfDay() {
	if c.last != 0 && c.metric.of != nil {
		c.ends = append(c.ends, dayEnd{day: c.today, arms: c.moments()})
	}
}

// variables are a user's metric now and before, as stats.Moments takes them.
func (c *collector) variables(now, pre []float32) (x [4]float64) {
	x[stats.Num], x[stats.Den] = c.metric.of(now)
	if pre != nil {
		x[stats.PreNum], x[stats.PreDen] = c.metric.of(pre)
	}
	return x
}

// moments are the metric's over all users that count, by arm.
func (c *collector) moments() []stats.Moments {
	arms := make([]stats.Moments, len(c.arms.list))
	for i := range c.users {
		if u := &c.users[i]; u.inWindow && !u.crossed {
			arms[u.arm].Add(c.variables(c.of(i, since), c.of(i, earlier)))
		}
	}
	return arms
}
