package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"relish/api"
	"relish/experiment"
	"relish/experiment/analysis"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/parallel"
	"relish/ranker/bundle"
)

// openExperiments reads the experiments file. Without one it returns nil.
func openExperiments(
	ctx context.Context, path, data string, models *bundle.Registry, log *slog.Logger,
) (*experiment.Watcher, error) {
	if path == "" {
		return nil, nil
	}
	watcher, err := experiment.Open(ctx, path, requiredBundles{models}, log)
	if err != nil {
		return nil, err
	}
	if err := watcher.LoadStoppedArms(StoppedArmsFile(data)); err != nil {
		return nil, err
	}
	return watcher, nil
}

// StoppedArmsFile is where a data folder remembers the arms that a guardrail stopped.
func StoppedArmsFile(data string) string { return filepath.Join(data, "experiments.stopped.json") }

// requiredBundles keeps the bundles that arms name in memory.
type requiredBundles struct{ registry *bundle.Registry }

// Require implements experiment.Bundles.
func (r requiredBundles) Require(
	ctx context.Context, versions []string,
) map[string]error {
	return r.registry.Require(ctx, versions)
}

// reporter reports on experiments from the event log that the service writes. Without a watcher,
// the log alone says which experiments there are.
type reporter struct {
	data    string
	watcher *experiment.Watcher
}

var _ api.ExperimentReporter = reporter{}

// Report implements api.ExperimentReporter.
func (r reporter) Report(
	ctx context.Context, name, metric string, from, to time.Time,
) (api.ExperimentReport, error) {
	report, err := r.analyse(ctx, name, metric, from, to)
	switch {
	case errors.Is(err, analysis.ErrNoExposure):
		return nil, fmt.Errorf("%w: %w", api.ErrUnknownExperiment, err)
	case errors.Is(err, analysis.ErrInvalidOptions):
		return nil, fmt.Errorf("%w: %w", api.ErrInvalidReport, err)
	case err != nil:
		return nil, err
	}
	return report, nil
}

// analyse reports on an experiment. Its error is analysis.ErrInvalidOptions if the experiment
// cannot be reported on as asked.
func (r reporter) analyse(
	ctx context.Context, name, metric string, from, to time.Time,
) (*analysis.Report, error) {
	opt := analysis.Options{Experiment: name, From: from, To: to}
	if r.watcher != nil && r.watcher.Set().Find(name) != nil {
		if err := ConfigureReport(&opt, r.watcher.Set(), r.watcher.StoppedArms()); err != nil {
			return nil, fmt.Errorf("%w: %w", analysis.ErrInvalidOptions, err)
		}
	}
	if metric != "" {
		opt.Metric = metric
	}
	return analysis.Run(ctx, eventlog.Read(ingest.LogDir(r.data), 1), opt)
}

// ConfigureReport takes the unit, the metric, the guardrails and the weights of opt.Experiment from
// the experiments file. If an arm was stopped and opt.To is not set, the report ends at that time:
// from then on, the users of the arm are missing.
func ConfigureReport(
	opt *analysis.Options, set *experiment.Set, stopped []experiment.StoppedArm,
) error {
	e := set.Find(opt.Experiment)
	if e == nil {
		return fmt.Errorf("experiment %q is not in the experiments file. Correct the name, or "+
			"leave out --experiments to report from the event log alone", opt.Experiment)
	}
	if e.HashAttribute != experiment.HashUser && e.HashAttribute != experiment.HashSession {
		return fmt.Errorf("experiment %q assigns by the context field %q, which interactions do "+
			"not carry. Only experiments by user or session can be reported on",
			e.Name, e.HashAttribute)
	}
	if arms := e.StoppedArms(stopped); len(arms) > 0 && opt.To.IsZero() {
		opt.To = arms[0].At
	}
	opt.Unit, opt.Metric, opt.Control = e.HashAttribute, e.Metric, e.Arms[0].Name
	for _, g := range e.Guardrails {
		guardrail := analysis.Guardrail{Metric: g.Metric, Margin: g.Margin}
		opt.Guardrails = append(opt.Guardrails, guardrail)
	}
	if e.Mode == experiment.ModeInterleave {
		return nil
	}
	opt.Weights = map[string]float64{}
	for _, arm := range e.Arms {
		if arm.Weight > 0 {
			opt.Weights[arm.Name] = arm.Weight
		}
	}
	return nil
}

const (
	// guardrailInterval is the time between two checks of the guardrails. A breach is found by a
	// sequential test, which holds at every look, so that frequent looks cost no certainty.
	guardrailInterval = 10 * time.Minute

	// guardrailTimeout bounds the report on one experiment: ten million events take some minutes.
	guardrailTimeout = 8 * time.Minute
)

// guardrails stops arms that breach a guardrail, in the experiments that ask for it.
type guardrails struct {
	watcher *experiment.Watcher
	data    string
	log     *slog.Logger
}

// run checks the guardrails at every interval until ctx ends, and reports each check.
func (g guardrails) run(ctx context.Context, report func(error)) {
	ticker := time.NewTicker(guardrailInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			err := g.check(ctx, now)
			if ctx.Err() != nil {
				return
			}
			if report(err); err != nil {
				g.log.Warn("cannot check the guardrails of experiments", "error", err)
			}
		}
	}
}

// check looks once at every running experiment with auto_stop that still has an arm to stop.
func (g guardrails) check(ctx context.Context, now time.Time) error {
	var errs []error
	for _, e := range g.watcher.Set().All() {
		stopped := len(e.StoppedArms(g.watcher.StoppedArms()))
		if !e.AutoStop || e.Status(now) != experiment.StatusRunning || stopped >= len(e.Arms)-1 {
			continue
		}
		errs = append(errs, parallel.Catch(func() error {
			return g.checkExperiment(ctx, e.Name, now)
		}))
	}
	return errors.Join(errs...)
}

func (g guardrails) checkExperiment(ctx context.Context, name string, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, guardrailTimeout)
	defer cancel()
	report, err := reporter{g.data, g.watcher}.analyse(ctx, name, "", time.Time{}, time.Time{})
	if errors.Is(err, analysis.ErrNoExposure) {
		return nil // no user was exposed to it yet
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, breach := range report.GuardrailBreaches() {
		errs = append(errs, g.watcher.StopArm(name, breach.Arm, breach.Reason, now))
	}
	return errors.Join(errs...)
}
