package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"relish/ranker"
	"relish/ranker/experiment"
)

// openExperiments reads the file of --experiments, nil without one.
func (c *serveCmd) openExperiments(models ranker.Models, log *slog.Logger) (*experiment.Keeper, error) {
	if c.Experiments == "" {
		return nil, nil
	}
	return experiment.Open(c.Experiments, loaded{models}, log)
}

// followExperiments reads the file again as it changes, and on SIGHUP, until the context ends.
func followExperiments(ctx context.Context, keeper *experiment.Keeper) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	keeper.Run(ctx, hup)
}

// loaded are the models that are there, which no arm can ask to be loaded.
type loaded struct{ models ranker.Models }

// Require implements experiment.Bundles.
func (l loaded) Require(versions []string) map[string]error {
	missing := map[string]error{}
	for _, v := range versions {
		if _, err := l.models.Model(v); err != nil {
			missing[v] = err
		}
	}
	return missing
}
