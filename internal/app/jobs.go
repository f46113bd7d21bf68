package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// A job is background work of the service. It runs from App.Run until its context ends and returns
// soon after that. It logs its own errors, because a job that fails must not end the service. The
// name labels its goroutine in profiles.
type job struct {
	name string
	run  func(ctx context.Context)
}

// newJobs returns the background jobs of the service.
func (a *App) newJobs(opt Options) []job {
	jobs := []job{
		{"external tables", a.engine.External.Run}, // load imported feature columns
		{"bundles", a.models.Run},                  // follow which bundle is active
	}
	if a.experiments != nil {
		guard := guardrails{a.experiments, opt.Store.Data, opt.Log}
		jobs = append(jobs,
			job{"experiments file", a.watchExperiments},
			job{"guardrails", guard.run})
	}
	return jobs
}

// watchExperiments reads the experiments file again when it changes and on SIGHUP.
func (a *App) watchExperiments(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	a.experiments.Run(ctx, hangup)
}
