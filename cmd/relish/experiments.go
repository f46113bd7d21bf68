package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"relish/api"
	"relish/experiment"
	"relish/experiment/analysis"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker/bundle"
)

// openExperiments reads the file of --experiments, nil without one.
func (c *serveCmd) openExperiments(models *bundle.Registry, log *slog.Logger) (*experiment.Watcher, error) {
	if c.Experiments == "" {
		return nil, nil
	}
	keeper, err := experiment.Open(c.Experiments, required{models}, log)
	if err != nil {
		return nil, err
	}
	return keeper, keeper.LoadStoppedArms(stopsFile(c.Data))
}

// stopsFile is where a data folder remembers the arms that were stopped.
func stopsFile(data string) string { return filepath.Join(data, "experiments.stopped.json") }

// followExperiments reads the file again as it changes, and on SIGHUP, until the context ends.
func followExperiments(ctx context.Context, keeper *experiment.Watcher) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	keeper.Run(ctx, hup)
}

// reports makes reports beside the server that writes the log. keeper may be nil: then the log alone tells.
type reports struct {
	data   string
	keeper *experiment.Watcher
}

// Report implements api.Reports.
func (r reports) Report(ctx context.Context, name, metric string, from, to time.Time) (api.ExperimentReport, error) {
	report, err := r.run(ctx, name, metric, from, to)
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

// run reports on an experiment; what cannot be asked for is verdict.ErrOptions.
func (r reports) run(ctx context.Context, name, metric string, from, to time.Time) (*analysis.Report, error) {
	opt := analysis.Options{Experiment: name, From: from, To: to}
	if r.keeper != nil && r.keeper.Set().Find(name) != nil {
		if err := configured(&opt, r.keeper.Set(), r.keeper.StoppedArms()); err != nil {
			return nil, fmt.Errorf("%w: %w", analysis.ErrInvalidOptions, err)
		}
	}
	if metric != "" {
		opt.Metric = metric
	}
	return analysis.Run(ctx, eventlog.Read(ingest.LogDir(r.data), 1), opt)
}

// required keeps the bundles that arms name loaded.
type required struct{ registry *bundle.Registry }

// Require implements experiment.Bundles.
func (r required) Require(versions []string) map[string]error {
	return r.registry.Require(context.Background(), versions)
}
