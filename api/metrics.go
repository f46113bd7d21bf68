package api

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/ranker"
)

// metrics are the edge's own. Labels are route templates, status classes, stages and degradations:
// bounded by the code, whatever clients send.
type metrics struct {
	requests        *prometheus.HistogramVec
	stages          *prometheus.HistogramVec
	degraded        *prometheus.CounterVec
	coverage        prometheus.Histogram
	inFlight        prometheus.Gauge
	slotSeconds     prometheus.Counter // its rate is the mean number of rankings under way, whatever the scrapes miss
	refusedRankings prometheus.Counter
	events          *prometheus.CounterVec
}

// latencyBuckets go from 100 us, below which nothing is worth telling apart, to 13 s, in steps of 2.
var latencyBuckets = prometheus.ExponentialBuckets(0.0001, 2, 18)

// newMetrics registers the edge's metrics; slots is how many rankings may be under way at once.
func newMetrics(reg *prometheus.Registry, slots int) *metrics {
	m := &metrics{
		requests:        prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "relish_request_seconds", Help: "Time to answer, by route and status class.", Buckets: latencyBuckets}, []string{"route", "status"}),
		stages:          prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "relish_stage_seconds", Help: "Time of a ranking's stages.", Buckets: latencyBuckets}, []string{"stage"}),
		degraded:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "relish_degraded_total", Help: "Rankings that left something out, by what."}, []string{"what"}),
		coverage:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "relish_text_coverage", Help: "Share of candidates with a text that were scored with it.", Buckets: []float64{0, .1, .25, .5, .75, .9, .99, 1}}),
		inFlight:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "relish_rankings_in_flight", Help: "Rankings under way."}),
		slotSeconds:     prometheus.NewCounter(prometheus.CounterOpts{Name: "relish_ranking_slot_seconds_total", Help: "Time that rankings held their slots. Its rate by relish_ranking_slots is the service's saturation, 0 to 1."}),
		refusedRankings: prometheus.NewCounter(prometheus.CounterOpts{Name: "relish_rankings_refused_total", Help: "Rankings refused with 503 because all slots were taken."}),
		events:          prometheus.NewCounterVec(prometheus.CounterOpts{Name: "relish_events_total", Help: "Events received, by outcome."}, []string{"outcome"}),
	}
	limit := prometheus.NewGauge(prometheus.GaugeOpts{Name: "relish_ranking_slots", Help: "Rankings that may be under way at once (--max-in-flight)."})
	limit.Set(float64(slots))
	reg.MustRegister(m.requests, m.stages, m.degraded, m.coverage, m.inFlight, m.slotSeconds, m.refusedRankings, m.events, limit)
	return m
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, fmt.Sprintf("%dxx", status/100)).Observe(took.Seconds())
}

func (m *metrics) ranking(resp *ranker.Response) {
	for _, t := range resp.Timings {
		m.stages.WithLabelValues(t.Stage).Observe(t.Took.Seconds())
	}
	for _, d := range resp.Degraded {
		m.degraded.WithLabelValues(d).Inc()
	}
	m.coverage.Observe(resp.Coverage.Text)
}
