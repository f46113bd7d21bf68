package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"relish/internal/config"
	"relish/internal/demo"
)

type demoCmd struct {
	storeFlags
	bundleFlags
	encoderFlags
	logFlags
	Seed  uint64 `help:"Same seed, same events." default:"1"`
	Users int    `help:"Simulated users." default:"200"`
	Lists int    `help:"Simulated lists shown, over all users." default:"3000"`

	Simulate bool `help:"Then have users come back, and say which share of the best order's clicks, which only the simulator knows, the prior and the active bundle reach. Where the demo is there already, nothing else is done."`
	Visits   int  `help:"How many visits --simulate makes." default:"1000"`
	JSON     bool `help:"Print what --simulate found as JSON."`

	PlantedLift float64 `help:"Multiply the odds of a click by 1 + this for every second user, as the treated arm of an experiment called planted-lift: something for relish experiment report to find. 0 = no experiment." placeholder:"SHARE"`
}

// Run fills an empty data folder with the built-in catalogue and what simulated users did.
func (c *demoCmd) Run(ctx context.Context, cfg *config.Config) error {
	if c.Users < 1 || c.Lists < 1 || c.Visits < 1 {
		return fmt.Errorf("%w: --users, --lists and --visits are at least 1", errUsage)
	}
	world, there, err := c.filled()
	switch {
	case err != nil:
		return err
	case there && !c.Simulate:
		fmt.Printf("the demo is already in %s\n", c.Data)
		return nil
	case !there:
		world = demo.Options{Seed: c.Seed, Users: c.Users, Lists: c.Lists, PlantedLift: c.PlantedLift}
		if err := c.fill(ctx, cfg, world); err != nil {
			return err
		}
	}
	if !c.Simulate {
		return nil
	}
	return c.simulate(ctx, cfg, world)
}

func (c *demoCmd) fill(ctx context.Context, cfg *config.Config, options demo.Options) (err error) {
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{onItem: noHook}, c.logger())
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	world := demo.New(options)
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
	n, err := embedAll(ctx, e, c.root(c.Data))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "demo: %d events, %d texts encoded, in %s\n", im.counts.Accepted+im.counts.Duplicates, n, c.Data)
	data, err := json.Marshal(options)
	if err != nil {
		return err
	}
	return os.WriteFile(c.donePath(), data, 0o644)
}
