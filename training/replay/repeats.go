package replay

import "relish/features/event"

// dayRepeats counts what each user did with each item on the newest day. A robot that clicks on one
// item without any list then teaches no more than the state counts, see
// features.Config.DailyListed.
type dayRepeats struct {
	day    int64 // number of the day since 1970, UTC
	counts map[userAction]int
}

type userAction struct {
	user, item int32
	action     string
}

// exceed counts one interaction and reports whether there were bound of its kind on its day before.
func (r *dayRepeats) exceed(bound int, key userAction, rec *event.Record) bool {
	const msPerDay = 24 * 60 * 60 * 1000
	if day := event.OrderOf(rec).Time / msPerDay; r.counts == nil || day != r.day {
		r.day, r.counts = day, map[userAction]int{}
	}
	r.counts[key]++
	return r.counts[key] > bound
}
