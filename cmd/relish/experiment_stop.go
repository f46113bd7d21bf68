package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"relish/experiment"
	"relish/experiment/analysis"
)

// How often running experiments with auto_stop are looked at, and how long the report on one may take: some minutes for
// ten million events. What is looked for holds at any look, so that looking often costs no certainty.
const (
	stopEvery = 10 * time.Minute
	stopTime  = 8 * time.Minute
)

// stopHarmful ends arms that hurt a guardrail, until ctx ends.
func stopHarmful(ctx context.Context, keeper *experiment.Watcher, data string, log *slog.Logger) {
	t := time.NewTicker(stopEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if err := stopNow(ctx, keeper, data, now); err != nil && ctx.Err() == nil {
				log.Warn("experiments could not be looked at for harm", "reason", err)
			}
		}
	}
}

// stopNow looks once at every running experiment that asks for it.
func stopNow(ctx context.Context, keeper *experiment.Watcher, data string, now time.Time) error {
	var errs []error
	for _, e := range keeper.Set().All() {
		if !e.AutoStop || e.Status(now) != experiment.StatusRunning || len(e.StoppedArms(keeper.StoppedArms())) >= len(e.Arms)-1 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, stopTime)
		r, err := reports{data, keeper}.run(ctx, e.Name, "", time.Time{}, time.Time{})
		cancel()
		if errors.Is(err, analysis.ErrNoExposure) {
			continue // nobody has met it yet
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, h := range r.GuardrailBreaches() {
			errs = append(errs, keeper.StopArm(e.Name, h.Arm, h.Reason, now))
		}
	}
	return errors.Join(errs...)
}
