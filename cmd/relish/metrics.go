package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"relish/embeddings"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/ranker/bundle"
)

// registerEngine exposes the gauges and counters that store and vectors keep of themselves.
func registerEngine(reg *prometheus.Registry, e *engine) {
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "relish_" + name, Help: help}, value))
	}
	counter := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "relish_" + name, Help: help}, value))
	}
	switch s := e.store.(type) {
	case *embedded.Store:
		gauge("items", "Items in the state.", func() float64 { return float64(s.Stats().Items) })
		gauge("users", "Users in the state.", func() float64 { return float64(s.Stats().Users) })
		gauge("field_values", "Counted field values.", func() float64 { return float64(s.Stats().FieldValues) })
		registerJournal(gauge, counter, func() ingest.Stats { return s.Stats().Stats })
	case *redis.Store:
		gauge("redis_up", "1 while Redis answers, 0 while the breaker is open.", func() float64 { return boolean(s.Stats().Up) })
		gauge("redis_behind", "1 while Redis may lack records of this replica's log.", func() float64 { return boolean(s.Stats().Behind) })
		gauge("redis_behind_seconds", "For how long that has been so: local copies may be that old.", func() float64 { return s.Stats().BehindFor.Seconds() })
		gauge("redis_lag_records", "Records of the log that Redis has not been given.", func() float64 { return float64(s.Stats().Lag) })
		gauge("field_values", "Counted field values.", func() float64 { return float64(s.Stats().FieldValues) })
		counter("redis_outages_total", "How often Redis was found to be away.", func() float64 { return float64(s.Stats().Outages) })
		counter("redis_round_trips_total", "Round trips for rankings.", func() float64 { return float64(s.Stats().RoundTrips) })
		counter("redis_stale_reads_total", "Rankings made from local copies.", func() float64 { return float64(s.Stats().StaleReads) })
		counter("redis_conflicts_total", "Writes that another replica won; they were made again.", func() float64 { return float64(s.Stats().Conflicts) })
		counter("redis_invalid_values_total", "Values in Redis that were damaged; they count as missing.", func() float64 { return float64(s.Stats().Invalid) })
		registerJournal(gauge, counter, func() ingest.Stats { return s.Stats().Stats })
	}
	gauge("erasures_pending", "Forgotten users whose events still stand in log segments.", func() float64 { return float64(e.store.PendingErasures()) })
	if e.vectors != nil { // by the server's encoder and by those that bundles bring along
		stats := func() embeddings.Stats { return e.vectors.Stats().Plus(e.own.Stats()) }
		gauge("bundle_encoders", "Text encoders in use that bundles brought along.", func() float64 { return float64(len(e.own.Digests())) })
		counter("encoder_failed_texts_total", "Texts that an encoder failed on; their items rank without.", func() float64 { return float64(stats().Failed) })
		counter("vector_cache_hits_total", "Vectors found in memory.", func() float64 { return float64(stats().Hits) })
		counter("vector_table_hits_total", "Vectors read from the vector table.", func() float64 { return float64(stats().TableHits) })
		counter("vector_shared_hits_total", "Vectors that another replica had encoded.", func() float64 { return float64(stats().SharedHits) })
		counter("vector_misses_total", "Vectors that had to be encoded.", func() float64 { return float64(stats().Misses) })
		counter("encoder_texts_total", "Texts encoded.", func() float64 { return float64(stats().Encodes) })
		counter("encoder_runs_total", "Runs of the encoder.", func() float64 { return float64(stats().Runs) })
		gauge("encode_queue", "Texts waiting for the encoder.", func() float64 { return float64(stats().Queued) })
	}
}

// registerModels exposes what is ranked with, and what was refused.
func registerModels(reg *prometheus.Registry, models *bundle.Registry) {
	reg.MustRegister(activeModel{models},
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "relish_bundle_loads_total", Help: "Bundles loaded."}, func() float64 { return float64(models.Stats().Loads) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "relish_bundle_refusals_total", Help: "Bundles refused: see GET /models for the reason."}, func() float64 { return float64(models.Stats().Refusals) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "relish_bundle_refused", Help: "1 while the bundle that should be active is refused."}, func() float64 { return boolean(models.Stats().Refused != "") }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "relish_bundles_loaded", Help: "Bundles in memory."}, func() float64 { return float64(models.Stats().Loaded) }))
}

// activeModel names the active model in a label: one series, whatever was active before.
type activeModel struct{ models *bundle.Registry }

var activeDesc = prometheus.NewDesc("relish_active_model_info", "1 for the model that is active.", []string{"version"}, nil)

// Describe implements prometheus.Collector.
func (a activeModel) Describe(ch chan<- *prometheus.Desc) { ch <- activeDesc }

// Collect implements prometheus.Collector.
func (a activeModel) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(activeDesc, prometheus.GaugeValue, 1, a.models.Stats().Active)
}

// metric registers a value under relish_<name>.
type metric func(name, help string, value func() float64)

func registerJournal(gauge, counter metric, stats func() ingest.Stats) {
	gauge("log_bytes", "Size of the event log.", func() float64 { return float64(stats().LogBytes) })
	counter("impressions_dropped_total", "Impressions that the full hand-off queue refused.", func() float64 { return float64(stats().DroppedImpressions) })
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
