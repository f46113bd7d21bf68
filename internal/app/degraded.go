package app

import (
	"errors"
	"log/slog"

	"golang.org/x/time/rate"

	"relish/ranker"
)

// degradedPerSecond bounds the log lines about degraded rankings. An outage of a store degrades
// every ranking for the same reason, so a few lines a second say it.
const degradedPerSecond = 3

// logDegraded returns a function for ranker.Options.OnRanked. It logs why a ranking is degraded. A
// ranking without an error is not logged: texts that are still being encoded, for example, degrade
// a ranking and are no error.
func logDegraded(log *slog.Logger) func(*ranker.Request, *ranker.Response, []error) {
	limit := rate.NewLimiter(degradedPerSecond, degradedPerSecond)
	return func(req *ranker.Request, resp *ranker.Response, errs []error) {
		if len(errs) == 0 || !limit.Allow() {
			return
		}
		log.Warn("ranking degraded", "request_id", req.ID, "degraded", resp.Degraded,
			"error", errors.Join(errs...))
	}
}
