package app

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"relish/api"
	"relish/features"
	"relish/features/embedded"
	"relish/features/redis"
)

// uncountedCollector exposes what robots and click farms send. The numbers begin with the records
// that the start replays. The number of series is bounded, see features.Uncounted.
type uncountedCollector struct{ uncounted *features.Uncounted }

var uncountedDesc = prometheus.NewDesc("relish_interactions_not_counted_total",
	"Interactions that are logged but not counted for their item: repeated above "+
		"state.daily_listed, unlisted above state.daily_unlisted, or of newcomers above "+
		"state.newcomer_excess.", []string{"reason", "source"}, nil)

// Describe implements prometheus.Collector.
func (c uncountedCollector) Describe(ch chan<- *prometheus.Desc) { ch <- uncountedDesc }

// Collect implements prometheus.Collector. Each reason has a series from the start, so that a rate
// shows the first of its interactions.
func (c uncountedCollector) Collect(ch chan<- prometheus.Metric) {
	numbers := c.uncounted.Numbers()
	for _, reason := range []string{
		features.UncountedRepeated, features.UncountedUnlisted, features.UncountedNewcomer,
	} {
		numbers[features.UncountedKey{Reason: reason}] += 0
	}
	for key, n := range numbers {
		ch <- prometheus.MustNewConstMetric(uncountedDesc, prometheus.CounterValue, float64(n),
			key.Reason, key.Source)
	}
}

// minUncounted is the number of interactions of one item that do not count from which
// /health/ready names the item. An honest site has some of them.
const minUncounted = 100

// uncountedCheck names the item with the most interactions that did not count.
func uncountedCheck(store Store) (check api.ReadinessCheck, found bool) {
	var uncounted *features.Uncounted
	switch s := store.(type) {
	case *embedded.Store:
		uncounted = s.Stats().Uncounted
	case *redis.Store:
		uncounted = s.Stats().Uncounted
	default:
		return check, false
	}
	item, n := uncounted.TopItem()
	if n < minUncounted {
		return check, false
	}
	return api.ReadinessCheck{Name: "clicks", OK: true, Detail: fmt.Sprintf(
		"since the start, at least %d interactions with item %q did not count for it: robots, a "+
			"click farm, or a client that repeats events. "+
			"relish_interactions_not_counted_total has their reasons and sources", n, item)}, true
}
