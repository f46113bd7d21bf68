package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"relish/internal/config"
	"relish/internal/demo"
)

type demoCmd struct {
	storeFlags
	encoderFlags
	logFlags
	Seed  uint64 `help:"Same seed, same events." default:"1"`
	Users int    `help:"Simulated users." default:"200"`
	Lists int    `help:"Simulated lists shown, over all users." default:"3000"`

	PlantedLift float64 `help:"Multiply the odds of a click by 1 + this for every second user, as the treated arm of an experiment called planted-lift: something for relish experiment report to find. 0 = no experiment." placeholder:"SHARE"`
}

// Run fills an empty data folder with the built-in catalogue and what simulated users did.
func (c *demoCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	done := filepath.Join(c.Data, "demo.done")
	if _, err := os.Stat(done); err == nil {
		fmt.Printf("the demo is already in %s\n", c.Data)
		return nil
	}
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{onItem: noHook}, c.logger())
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	world := demo.New(demo.Options{Seed: c.Seed, Users: c.Users, Lists: c.Lists, PlantedLift: c.PlantedLift})
	im := &importer{store: e.store, strict: true, progress: newProgress("demo"), name: "demo"}
	for ev := range world.Events() {
		im.batch, im.lines = append(im.batch, ev), append(im.lines, im.counts.Accepted+len(im.batch)+1)
		if len(im.batch) == importBatch {
			if err := im.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(im.flush(ctx), ctx.Err()); err != nil {
		return err
	}
	im.progress.end()
	n, err := embedAll(ctx, e)
	if err != nil {
		return err
	}
	fmt.Printf("demo: %d events, %d texts encoded, in %s\n", im.counts.Accepted+im.counts.Duplicates, n, c.Data)
	return os.WriteFile(done, nil, 0o644)
}
