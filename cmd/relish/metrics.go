package main

import "github.com/prometheus/client_golang/prometheus"

// registerEngine exposes the gauges and counters that store and vectors keep of themselves.
func registerEngine(reg *prometheus.Registry, e *engine) {
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "relish_" + name, Help: help}, value))
	}
	counter := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "relish_" + name, Help: help}, value))
	}
	s := e.store
	gauge("items", "Items in the state.", func() float64 { return float64(s.Stats().Items) })
	gauge("users", "Users in the state.", func() float64 { return float64(s.Stats().Users) })
	gauge("field_values", "Counted field values.", func() float64 { return float64(s.Stats().FieldValues) })
	gauge("log_bytes", "Size of the event log.", func() float64 { return float64(s.Stats().LogBytes) })
	gauge("erasures_pending", "Forgotten users whose events still stand in log segments.", func() float64 { return float64(s.PendingErasures()) })
	counter("impressions_dropped_total", "Impressions that the full hand-off queue refused.", func() float64 { return float64(s.Stats().DroppedImpressions) })
	if v := e.vectors; v != nil {
		counter("vector_cache_hits_total", "Vectors found in memory.", func() float64 { return float64(v.Stats().Hits) })
		counter("vector_table_hits_total", "Vectors read from the vector table.", func() float64 { return float64(v.Stats().TableHits) })
		counter("vector_misses_total", "Vectors that had to be encoded.", func() float64 { return float64(v.Stats().Misses) })
		counter("encoder_texts_total", "Texts encoded.", func() float64 { return float64(v.Stats().Encodes) })
		counter("encoder_runs_total", "Runs of the encoder.", func() float64 { return float64(v.Stats().Runs) })
		gauge("encode_queue", "Texts waiting for the encoder.", func() float64 { return float64(v.Stats().Queued) })
	}
}
