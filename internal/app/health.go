package app

import (
	"fmt"
	"time"

	"relish/api"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/ranker/bundle"
)

// readiness describes the parts of the service. OK is always true: rankings go on without Redis
// and without the newest bundle, so a load balancer must keep sending requests. Detail tells
// people what is missing.
func (a *App) readiness() []api.ReadinessCheck {
	checks := []api.ReadinessCheck{storeCheck(a.engine.Store), modelCheck(a.models)}
	ingested := ingestStats(a.engine.Store)
	if ingested.LogFull {
		checks = append(checks, api.ReadinessCheck{Name: "log", OK: true, Detail: "degraded: " +
			"events are refused, because the event log or its disk is full; free space, raise " +
			"--max-log-bytes, or set --retain-bytes or --retain-age"})
	}
	if ahead := ingested.ClockAhead; ahead > 0 {
		checks = append(checks, api.ReadinessCheck{Name: "clock", OK: true, Detail: fmt.Sprintf(
			"degraded: the clock stepped ahead by %s, and arrival times do not follow it; if it "+
				"is right, start again with --accept-clock", ahead.Round(time.Second))})
	}
	if check, found := uncountedCheck(a.engine.Store); found {
		checks = append(checks, check)
	}
	if a.engine.encoder != nil {
		checks = append(checks, encoderCheck(a.engine))
	}
	return append(checks, a.jobChecks()...)
}

// encoderCheck describes the text encoders.
func encoderCheck(e *Engine) api.ReadinessCheck {
	check := api.ReadinessCheck{Name: "encoder", OK: true, Detail: e.encoder.Device()}
	if reason := e.encoderFallback(); reason != "" {
		check.Detail += " (" + reason + ")"
	}
	if n := len(e.pool.Digests()); n > 0 {
		check.Detail += fmt.Sprintf("; fine-tuned encoders in use: %d", n)
	}
	if err := e.encoderFailure(); err != nil {
		check.Detail = "degraded: " + err.Error() + "; items rank without the texts that have no " +
			"vector; " + check.Detail
	}
	return check
}

func storeCheck(store Store) api.ReadinessCheck {
	check := api.ReadinessCheck{Name: "store", OK: true}
	shared, ok := store.(*redis.Store)
	if !ok {
		return check
	}
	switch stats := shared.Stats(); {
	case !stats.Up:
		check.Detail = "degraded: Redis does not answer; rankings use local copies, events wait " +
			"in the log"
		if stats.LastError != nil {
			check.Detail += ": " + stats.LastError.Error()
		}
	case stats.OlderLog:
		check.Detail = "degraded: an older copy of the event log was put back, and new events " +
			"may not count; restart while Redis answers, then run relish rebuild --redis"
	case stats.Behind:
		check.Detail = "degraded: Redis is being brought up to date from the log"
	default:
		check.Detail = "redis"
	}
	return check
}

// ingestStats returns the gauges of the store's event log.
func ingestStats(store Store) ingest.Stats {
	switch s := store.(type) {
	case *redis.Store:
		return s.Stats().Stats
	case *embedded.Store:
		return s.Stats().Stats
	}
	return ingest.Stats{}
}

func modelCheck(models *bundle.Registry) api.ReadinessCheck {
	stats := models.Stats()
	check := api.ReadinessCheck{Name: "model", OK: true, Detail: stats.Active}
	switch {
	case stats.Refused != "":
		check.Detail = "degraded: " + stats.Active + " ranks; " + stats.Refused
	case stats.Waiting != "":
		check.Detail = stats.Active + " ranks; " + stats.Waiting
	}
	return check
}
