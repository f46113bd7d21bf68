package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/internal/admission"
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
	delayedRefusals prometheus.Counter
	refusedBodies   *prometheus.CounterVec

	connections        prometheus.Gauge
	refusedConnections prometheus.Counter
	evictedConnections prometheus.Counter

	events *prometheus.CounterVec

	// slotSeconds counts what inFlight misses between scrapes: its rate is the exact mean number of
	// rankings under way.
	slotSeconds prometheus.Counter
}

// latencyBuckets go from 0.1 ms to 13 s in steps of a factor 2. Below 0.1 ms no difference matters.
var latencyBuckets = prometheus.ExponentialBuckets(0.0001, 2, 18)

// coverageBuckets are close at both ends: no text at all, and nearly every text, are what operators
// look for.
var coverageBuckets = []float64{0, .1, .25, .5, .75, .9, .99, 1}

// newMetrics registers the metrics. Those of rankings and bodyMemory are read at each scrape.
func newMetrics(
	reg *prometheus.Registry, rankings *admission.Limiter, bodyMemory *admission.Budget,
) *metrics {
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
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "relish_events_total",
			Help: "Events received, by outcome: accepted, duplicate or rejected.",
		}, []string{"outcome"}),
	}
	reg.MustRegister(m.requests, m.stages, m.degraded, m.coverage, m.events)
	m.addAdmission(reg, rankings, bodyMemory)
	return m
}

// addAdmission registers the metrics of what is admitted and refused.
func (m *metrics) addAdmission(
	reg *prometheus.Registry, rankings *admission.Limiter, bodyMemory *admission.Budget,
) {
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "relish_rankings_in_flight",
		Help: "Rankings under way.",
	})
	m.slotSeconds = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "relish_ranking_slot_seconds_total",
		Help: "Time that rankings held slots, times the slots. " +
			"Its rate divided by relish_ranking_slots is the saturation, 0 to 1.",
	})
	m.refusedRankings = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "relish_rankings_refused_total",
		Help: "Rankings refused with 503 because too few slots were free.",
	})
	m.delayedRefusals = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "relish_refusals_delayed_total",
		Help: "Refused rankings that were answered after --refusal-delay, because too many were.",
	})
	m.refusedBodies = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "relish_bodies_refused_total",
		Help: "Bodies refused by size (of one), memory (of all under way), turn (of large " +
			"bodies of events and items) or time (to arrive).",
	}, []string{"bound"})
	m.connections = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "relish_connections",
		Help: "Open connections.",
	})
	m.refusedConnections = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "relish_connections_refused_total",
		Help: "Connections closed at once, because --max-connections had a request.",
	})
	m.evictedConnections = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "relish_connections_evicted_total",
		Help: "Connections without a request closed, because a new one needed their place.",
	})
	reg.MustRegister(m.inFlight, m.slotSeconds, m.refusedRankings, m.delayedRefusals,
		m.refusedBodies, m.connections, m.refusedConnections, m.evictedConnections,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "relish_ranking_slots",
			Help: "Ranking slots now. They follow the load, up to --max-in-flight.",
		}, func() float64 { return float64(rankings.Limit()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "relish_body_memory_bytes",
			Help: "Memory that bodies under way take, up to --max-body-memory.",
		}, func() float64 { return float64(bodyMemory.Taken()) }))
}

// refusedBody counts a body that was refused because of a bound.
func (m *metrics) refusedBody(err error) {
	e := fromError(err)
	switch {
	case e == nil:
	case e.code == errBodyTooLarge.code:
		m.refusedBodies.WithLabelValues("size").Inc()
	case e == errNoMemory:
		m.refusedBodies.WithLabelValues("memory").Inc()
	case e == errBulkBusy:
		m.refusedBodies.WithLabelValues("turn").Inc()
	case e == errBodyTimeout:
		m.refusedBodies.WithLabelValues("time").Inc()
	}
}

// statusClasses are the values of the label status, by the first digit.
var statusClasses = [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}

// statusClass returns the class of an HTTP status below 600.
func statusClass(status int) string { return statusClasses[status/100] }

// request counts one answered request.
func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, statusClass(status)).Observe(took.Seconds())
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
