package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"relish/ranker/bundle"
	"relish/ranker/experiment"
)

// openExperiments reads the file of --experiments, nil without one.
func (c *serveCmd) openExperiments(models *bundle.Registry, log *slog.Logger) (*experiment.Keeper, error) {
	if c.Experiments == "" {
		return nil, nil
	}
	return experiment.Open(c.Experiments, required{models}, log)
}

// followExperiments reads the file again as it changes, and on SIGHUP, until the context ends.
func followExperiments(ctx context.Context, keeper *experiment.Keeper) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	keeper.Run(ctx, hup)
}

// required keeps the bundles that arms name loaded.
type required struct{ registry *bundle.Registry }

// Require implements experiment.Bundles.
func (r required) Require(versions []string) map[string]error {
	return r.registry.Require(context.Background(), versions)
}
