package app

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/api"
	"relish/internal/parallel"
)

// A job is background work of the service. It runs from App.Run until its context ends and returns
// soon after that. It logs its own errors, because a job that fails must not end the service, and
// calls report after each round of its work: with the error, or with nil. The name labels its
// goroutine in profiles.
type job struct {
	name string
	run  func(ctx context.Context, report func(error))
}

// newJobs returns the background jobs of the service.
func (a *App) newJobs(opt Options) []job {
	jobs := []job{
		{"external tables", a.engine.External.Run}, // load imported feature columns
		// Follow which bundle is active. The check "model" says what failed.
		{"bundles", func(ctx context.Context, _ func(error)) { a.models.Run(ctx) }},
	}
	jobs = append(jobs, job{"trends", func(ctx context.Context, report func(error)) {
		a.trends.Run(ctx, a.engine.Store, report)
	}})
	if a.alerts != nil {
		jobs = append(jobs, a.alertJobs()...)
	}
	if a.engine.pool != nil {
		jobs = append(jobs, job{"vector tables", a.compactVectors},
			job{"classifiers", a.classifiers.Run},        // follow which versions are active
			job{"labels", a.engine.labelling.Load().run}) // label the items
	}
	if a.experiments != nil {
		guard := guardrails{a.experiments, opt.Store.Data, opt.Log}
		jobs = append(jobs,
			job{"experiments file", func(ctx context.Context, report func(error)) {
				a.experiments.Run(ctx, opt.ReadAgain, report)
			}},
			job{"guardrails", guard.run})
	}
	return jobs
}

// jobRestart is the time from a panic of a background job until it is started again.
const jobRestart = time.Minute

// runJob runs a job until ctx ends. A panic is logged, and the job is started again later.
func (a *App) runJob(ctx context.Context, j job) {
	report := func(err error) { a.health.report(j.name, err) }
	for {
		err := parallel.Catch(func() error {
			labels := pprof.Labels("job", j.name)
			pprof.Do(ctx, labels, func(ctx context.Context) { j.run(ctx, report) })
			return nil
		})
		if err == nil {
			return
		}
		report(err)
		a.log.Error("a background job failed; it is started again after a pause",
			"job", j.name, "pause", jobRestart, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(jobRestart):
		}
	}
}

// jobHealth remembers which jobs failed. The zero jobHealth is ready for use. It is safe for
// concurrent use.
type jobHealth struct {
	mu       sync.Mutex
	failures map[string]int    // by job
	reasons  map[string]string // by job that failed in its last round
}

// report takes the outcome of one round of a job.
func (h *jobHealth) report(job string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.reasons, job)
		return
	}
	if h.failures == nil {
		h.failures, h.reasons = map[string]int{}, map[string]string{}
	}
	h.failures[job]++
	h.reasons[job], _, _ = strings.Cut(err.Error(), "\n") // a stack follows
}

// reason returns why the last round of a job failed, "" if it did not.
func (h *jobHealth) reason(job string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reasons[job]
}

func (h *jobHealth) count(job string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failures[job]
}

// jobChecks describes the jobs that failed in their last round.
func (a *App) jobChecks() (checks []api.ReadinessCheck) {
	for _, j := range a.jobs {
		if reason := a.health.reason(j.name); reason != "" {
			checks = append(checks, api.ReadinessCheck{Name: j.name, OK: true,
				Detail: fmt.Sprintf("degraded: the job failed and is tried again: %s", reason)})
		}
	}
	return checks
}

// registerJobs exposes the failures of the jobs.
func registerJobs(registry *prometheus.Registry, jobs []job, h *jobHealth) {
	for _, j := range jobs {
		labels := prometheus.Labels{"job": j.name}
		registry.MustRegister(
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "relish_job_failures_total", ConstLabels: labels,
				Help: "Failed rounds of a background job.",
			}, func() float64 { return float64(h.count(j.name)) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "relish_job_failing", ConstLabels: labels,
				Help: "1 if the last round of a background job failed. It is tried again.",
			}, func() float64 {
				if h.reason(j.name) != "" {
					return 1
				}
				return 0
			}))
	}
}
