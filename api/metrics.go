package api

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/ranker"
)

// metrics are the Prometheus metrics of the API. Labels are route templates, status classes, stages
// and names of fallbacks. The code bounds them all, whatever clients send.
type metrics struct {
	requests        *prometheus.HistogramVec
	stages          *prometheus.HistogramVec
	degraded        *prometheus.CounterVec
	coverage        prometheus.Histogram
	inFlight        prometheus.Gauge
	refusedRankings prometheus.Counter
	events          *prometheus.CounterVec

	// slotSeconds counts what inFlight misses between scrapes: its rate is the exact mean number of
	// rankings under way.
	slotSeconds prometheus.Counter
}

// latencyBuckets go from 0.1 ms to 13 s in steps of a factor 2. Below 0.1 ms no difference matters.
var latencyBuckets = prometheus.ExponentialBuckets(0.0001, 2, 18)

// coverageBuckets are close at both ends: no text at all, and nearly every text, are what operators
// look for.
var coverageBuckets = []float64{0, .1, .25, .5, .75, .9, .99, 1}

// newMetrics registers the metrics. slots is how many rankings may run at once.
func newMetrics(reg *prometheus.Registry, slots int) *metrics {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "relish_request_seconds",
			Help:    "Time to answer a request, by route and status class.",
			Buckets: latencyBuckets,
		}, []string{"route", "status"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "relish_stage_seconds",
			Help:    "Time of each stage of a ranking.",
			Buckets: latencyBuckets,
		}, []string{"stage"}),
		degraded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "relish_degraded_total",
			Help: "Rankings that used a fallback, by its name in degraded.",
		}, []string{"fallback"}),
		coverage: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "relish_text_coverage",
			Help:    "Share of the candidates with a text that were scored with it.",
			Buckets: coverageBuckets,
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "relish_rankings_in_flight",
			Help: "Rankings under way.",
		}),
		slotSeconds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "relish_ranking_slot_seconds_total",
			Help: "Time that rankings held their slots. " +
				"Its rate divided by relish_ranking_slots is the saturation, 0 to 1.",
		}),
		refusedRankings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "relish_rankings_refused_total",
			Help: "Rankings refused with 503 because all slots were taken.",
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "relish_events_total",
			Help: "Events received, by outcome: accepted, duplicate or rejected.",
		}, []string{"outcome"}),
	}
	limit := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "relish_ranking_slots",
		Help: "Rankings that may run at once (--max-in-flight).",
	})
	limit.Set(float64(slots))
	reg.MustRegister(m.requests, m.stages, m.degraded, m.coverage, m.inFlight, m.slotSeconds,
		m.refusedRankings, m.events, limit)
	return m
}

// request counts one answered request.
func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, fmt.Sprintf("%dxx", status/100)).Observe(took.Seconds())
}

// ranking counts one answered ranking.
func (m *metrics) ranking(resp *ranker.Response) {
	for _, t := range resp.Timings {
		m.stages.WithLabelValues(t.Stage).Observe(t.Took.Seconds())
	}
	for _, d := range resp.Degraded {
		m.degraded.WithLabelValues(d).Inc()
	}
	m.coverage.Observe(resp.Coverage.Text)
}
