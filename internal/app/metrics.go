package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"relish/embeddings"
	"relish/embeddings/classifier"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/ranker"
	"relish/ranker/bundle"
)

// meter registers values under relish_<name>. A value is read when Prometheus scrapes.
type meter struct{ registry *prometheus.Registry }

func (m meter) gauge(name, help string, value func() float64) {
	opt := prometheus.GaugeOpts{Name: "relish_" + name, Help: help}
	m.registry.MustRegister(prometheus.NewGaugeFunc(opt, value))
}

func (m meter) counter(name, help string, value func() float64) {
	opt := prometheus.CounterOpts{Name: "relish_" + name, Help: help}
	m.registry.MustRegister(prometheus.NewCounterFunc(opt, value))
}

// registerEngine exposes the statistics of the store and of the text vectors.
func registerEngine(registry *prometheus.Registry, e *Engine) {
	m := meter{registry}
	switch store := e.Store.(type) {
	case *embedded.Store:
		registerEmbedded(m, store)
	case *redis.Store:
		registerRedis(m, store)
	}
	m.gauge("erasures_pending", "Erased users whose events are still in log segments.",
		func() float64 { return float64(e.Store.PendingErasures()) })
	if e.Vectors != nil {
		registerVectors(m, e)
	}
}

// registerPipeline exposes the calls that ranking stages have abandoned, by stage, and the rankings
// that nobody got.
func registerPipeline(registry *prometheus.Registry, p *ranker.Pipeline) {
	for i, s := range p.Stats() {
		stage := prometheus.Labels{"stage": s.Stage}
		registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name:        "relish_stage_calls_abandoned",
				Help:        "Calls that still run after their ranking stopped waiting.",
				ConstLabels: stage,
			}, func() float64 { return float64(p.Stats()[i].Abandoned) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "relish_stage_calls_abandoned_total",
				Help:        "Calls that ran longer than their ranking waited for them.",
				ConstLabels: stage,
			}, func() float64 { return float64(p.Stats()[i].AbandonedTotal) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "relish_stage_calls_refused_total",
				Help:        "Calls refused because too many abandoned ones still ran.",
				ConstLabels: stage,
			}, func() float64 { return float64(p.Stats()[i].RefusedTotal) }))
	}
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "relish_rankings_not_shown_total",
		Help: "Rankings that were not logged because their caller had gone.",
	}, func() float64 { return float64(p.Unshown()) }))
}

func registerEmbedded(m meter, store *embedded.Store) {
	m.gauge("items", "Items in the state.", func() float64 { return float64(store.Stats().Items) })
	m.gauge("users", "Users in the state.", func() float64 { return float64(store.Stats().Users) })
	m.gauge("field_values", "Field values that are counted.",
		func() float64 { return float64(store.Stats().FieldValues) })
	m.registry.MustRegister(uncountedCollector{store.Stats().Uncounted})
	registerIngest(m, func() ingest.Stats { return store.Stats().Stats })
}

func registerRedis(m meter, store *redis.Store) {
	m.gauge("redis_up", "1 while Redis answers, 0 while the circuit breaker is open.",
		func() float64 { return oneIf(store.Stats().Up) })
	m.gauge("redis_tracking",
		"1 while Redis announces what changes, so that rankings read only that.",
		func() float64 { return oneIf(store.Stats().Tracking) })
	m.gauge("redis_behind", "1 while Redis may lack records of this replica's log.",
		func() float64 { return oneIf(store.Stats().Behind) })
	m.gauge("redis_behind_seconds",
		"Time since Redis has lacked records; local copies may be that old.",
		func() float64 { return store.Stats().BehindFor.Seconds() })
	m.gauge("redis_lag_records", "Log records that were not sent to Redis yet.",
		func() float64 { return float64(store.Stats().Lag) })
	m.gauge("field_values", "Field values that are counted.",
		func() float64 { return float64(store.Stats().FieldValues) })
	m.counter("redis_outages_total", "Times that Redis stopped answering.",
		func() float64 { return float64(store.Stats().Outages) })
	m.counter("redis_round_trips_total", "Round trips to Redis for rankings.",
		func() float64 { return float64(store.Stats().RoundTrips) })
	m.counter("redis_stale_reads_total", "Rankings from local copies.",
		func() float64 { return float64(store.Stats().StaleReads) })
	m.counter("redis_conflicts_total", "Writes repeated because another replica wrote first.",
		func() float64 { return float64(store.Stats().Conflicts) })
	m.counter("redis_id_conflicts_total",
		"Events that do not count, because another replica took another event with their id.",
		func() float64 { return float64(store.Stats().IDConflicts) })
	m.counter("redis_invalid_values_total", "Damaged values in Redis, which count as missing.",
		func() float64 { return float64(store.Stats().Invalid) })
	m.registry.MustRegister(uncountedCollector{store.Stats().Uncounted})
	registerIngest(m, func() ingest.Stats { return store.Stats().Stats })
}

func registerIngest(m meter, stats func() ingest.Stats) {
	m.gauge("log_bytes", "Size of the event log.",
		func() float64 { return float64(stats().LogBytes) })
	m.gauge("log_full", "1 while the event log refuses events because it or its disk is full.",
		func() float64 { return oneIf(stats().LogFull) })
	m.counter("log_failures_total",
		"Batches that the disk did not take, and segments that retention could not drop.",
		func() float64 { return float64(stats().LogFailures) })
	m.gauge("log_queue_bytes", "Memory of events that wait for the disk, up to --max-log-queue.",
		func() float64 { return float64(stats().LogQueueBytes) })
	m.counter("log_queue_refused_events_total",
		"Events and impressions refused because too many wait for the disk.",
		func() float64 { return float64(stats().LogQueueRefused) })
	m.counter("impressions_dropped_total",
		"Impressions that were not logged: the queue was full, or the log did not take them.",
		func() float64 { return float64(stats().DroppedImpressions) })
	m.gauge("clock_ahead_seconds",
		"How far the clock is ahead of the arrival times, which do not follow an unconfirmed step.",
		func() float64 { return stats().ClockAhead.Seconds() })
}

// registerVectors adds up the base encoder and the fine-tuned encoders of bundles.
func registerVectors(m meter, e *Engine) {
	stats := func() embeddings.Stats { return e.Vectors.Stats().Plus(e.pool.Stats()) }
	m.gauge("encoder_fallback", "1 while a text encoder runs on the CPU because a GPU failed.",
		func() float64 { return oneIf(e.encoderFallback() != "") })
	m.gauge("encoder_failing", "1 while a text encoder fails on every text.",
		func() float64 { return oneIf(e.encoderFailure() != nil) })
	m.gauge("bundle_encoders", "Fine-tuned text encoders in use.",
		func() float64 { return float64(len(e.pool.Digests())) })
	m.counter("encoder_failed_texts_total",
		"Texts that an encoder failed on; their items rank without text.",
		func() float64 { return float64(stats().Failed) })
	m.counter("vector_cache_hits_total", "Vectors found in memory.",
		func() float64 { return float64(stats().Hits) })
	m.counter("vector_table_hits_total", "Vectors read from the vector table.",
		func() float64 { return float64(stats().TableHits) })
	m.counter("vector_shared_hits_total", "Vectors that another replica had encoded.",
		func() float64 { return float64(stats().SharedHits) })
	m.counter("vector_misses_total", "Vectors that had to be encoded.",
		func() float64 { return float64(stats().Misses) })
	m.counter("encoder_texts_total", "Texts encoded.",
		func() float64 { return float64(stats().Encodes) })
	m.counter("encoder_runs_total", "Runs of an encoder.",
		func() float64 { return float64(stats().Runs) })
	m.counter("encoder_dropped_texts_total",
		"Texts refused because too many wait for an encoder (--max-encoder-queue).",
		func() float64 { return float64(stats().Dropped) })
	m.counter("encoder_deferred_texts_total",
		"Texts that their ranking did not wait for (--max-fresh-texts).",
		func() float64 { return float64(stats().Deferred) })
	m.gauge("encoder_queue_texts", "Texts that wait for an encoder.",
		func() float64 { return float64(stats().Queued) })
}

// registerModels exposes the active model and the refused bundles.
func registerModels(registry *prometheus.Registry, models *bundle.Registry) {
	registry.MustRegister(activeModel{models})
	m := meter{registry}
	m.counter("bundle_loads_total", "Bundles loaded.",
		func() float64 { return float64(models.Stats().Loads) })
	m.counter("bundle_refusals_total", "Bundles refused; GET /models gives the reason.",
		func() float64 { return float64(models.Stats().Refusals) })
	m.gauge("bundle_refused", "1 while the bundle that should be active is refused.",
		func() float64 { return oneIf(models.Stats().Refused != "") })
	m.gauge("bundle_waiting",
		"1 while the model that should be active waits until its texts are encoded.",
		func() float64 { return oneIf(models.Stats().Waiting != "") })
	m.gauge("bundles_loaded", "Bundles that requests can be ranked with.",
		func() float64 { return float64(models.Stats().Loaded) })
	m.gauge("bundles_open", "Bundles in memory, including retired ones that requests still use.",
		func() float64 { return float64(models.Stats().Open) })
}

// registerClassifiers exposes what the classifiers do.
func registerClassifiers(registry *prometheus.Registry, classifiers *classifier.Registry) {
	m := meter{registry}
	m.gauge("classifiers_served", "Classifiers that label texts.",
		func() float64 { return float64(classifiers.Stats().Served) })
	m.gauge("classifiers_refused", "Classifiers whose active version is refused, see the log.",
		func() float64 { return float64(classifiers.Stats().Refused) })
	m.counter("labelled_texts_total", "Texts labelled by classifiers.",
		func() float64 { return float64(classifiers.Stats().Texts) })
}

// activeModel exposes the active model as a label. It has one series: the versions that were active
// before leave none.
type activeModel struct{ models *bundle.Registry }

var activeModelDesc = prometheus.NewDesc("relish_active_model_info", "1 for the active model.",
	[]string{"version"}, nil)

// Describe implements prometheus.Collector.
func (a activeModel) Describe(ch chan<- *prometheus.Desc) { ch <- activeModelDesc }

// Collect implements prometheus.Collector.
func (a activeModel) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(activeModelDesc, prometheus.GaugeValue, 1,
		a.models.Stats().Active)
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}
