package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/app"
	"relish/internal/config"
	"relish/internal/demo"
	"relish/internal/plural"
	"relish/ranker"
)

type demoCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Seed         uint64 `help:"The same seed gives the same events." default:"1" placeholder:"N"`
	Users        int    `help:"Simulated users." default:"200" placeholder:"N"`
	Lists        int    `help:"Simulated ranking lists that users are shown, in all." default:"3000" placeholder:"N"`

	Simulate bool     `help:"Measure the prior and the active bundle against the best order, which only the simulator knows."`
	Visits   int      `help:"With --simulate: number of visits." default:"1000" placeholder:"N"`
	Bundle   []string `help:"With --simulate: measure these versions instead of the active bundle." placeholder:"VERSION"`
	JSON     bool     `help:"Print the result of --simulate as JSON."`

	PlantedLift float64 `help:"Simulate an experiment planted-lift: raise the click odds of every second user by this share." placeholder:"SHARE"`
}

// Run fills an empty data folder with the sample catalogue and what simulated users did.
func (c *demoCmd) Run(ctx context.Context, cfg *config.Config) error {
	if c.Users < 1 || c.Lists < 1 || c.Visits < 1 {
		return app.Usagef("--users %d, --lists %d and --visits %d must be at least 1", c.Users,
			c.Lists, c.Visits)
	}
	world, filled, err := c.readWorld()
	switch {
	case err != nil:
		return err
	case filled && !c.Simulate:
		fmt.Printf("the demo is already in %s\n", c.Data)
		return nil
	case !filled:
		if err := errors.Join(c.checkEmpty(), c.announce()); err != nil {
			return err
		}
		world = demo.Options{
			Seed: c.Seed, Users: c.Users, Lists: c.Lists, PlantedLift: c.PlantedLift,
		}
		if err := c.fill(ctx, cfg, world); err != nil {
			return err
		}
	}
	if !c.Simulate {
		return nil
	}
	return c.simulate(ctx, cfg, world)
}

// worldFile records which world the data folder was filled from.
func (c *demoCmd) worldFile() string { return filepath.Join(c.Data, "demo.done") }

// readWorld returns the world that the data folder was filled from, and whether it was filled.
func (c *demoCmd) readWorld() (world demo.Options, filled bool, err error) {
	data, err := os.ReadFile(c.worldFile())
	if errors.Is(err, fs.ErrNotExist) {
		return world, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &world)
	}
	if err != nil {
		return world, false, fmt.Errorf("cannot read %s: %w. "+
			"Remove the folder %s and fill it again",
			c.worldFile(), err, c.Data)
	}
	return world, true, nil
}

// checkEmpty refuses a data folder with events of its own. An earlier demo that was interrupted may
// go on: its log begins with the first event of the demo.
func (c *demoCmd) checkEmpty() error {
	if create, err := app.WillCreateData(c.Data); err != nil || create {
		return nil // announce reports the error
	}
	first, n := "", 0
	for record, err := range eventlog.Read(ingest.LogDir(c.Data), 1) {
		if err != nil {
			return err
		}
		if n++; n == 1 {
			first = record.Event.ID
		}
	}
	if n == 0 {
		return nil
	}
	for e := range demo.New(demo.Options{Seed: c.Seed, Users: 1, Lists: 1}).Events() {
		if e.ID == first {
			return nil
		}
		break
	}
	return fmt.Errorf("%s has %s of its own; use an empty folder", c.Data,
		plural.Count(n, "event"))
}

// fill loads the events of the world and encodes the texts of its catalogue.
func (c *demoCmd) fill(ctx context.Context, cfg *config.Config, world demo.Options) (err error) {
	e, err := app.OpenEngine(ctx, engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	p := newProgress("demo")
	loader := newStrictLoader(e.Store, p)
	n := 0
	for ev := range demo.New(world).Events() {
		n++
		ev.Imported = true
		if err := loader.Add(ctx, n, ev); err != nil {
			return err
		}
	}
	err = errors.Join(loader.Flush(ctx), ctx.Err())
	p.end()
	if err != nil {
		return err
	}
	encoded, err := encodeAll(ctx, e, app.BundleFolder(c.Bundles, c.Data))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "demo: %s, %s encoded, in %s\n", plural.Count(n, "event"),
		plural.Count(encoded, "text"), c.Data)
	data, err := json.Marshal(world)
	if err != nil {
		return err
	}
	return os.WriteFile(c.worldFile(), data, 0o644)
}

// newStrictLoader returns a loader of generated events: a rejected one is a fault.
func newStrictLoader(store app.Store, p *progress) *app.Loader {
	rejected := func(n int, reason *ranker.EventError) error {
		return fmt.Errorf("generated event %d: %w", n, reason)
	}
	return &app.Loader{Sink: store, Rejected: rejected, Progress: p.count}
}

func (c *demoCmd) simulate(ctx context.Context, cfg *config.Config, world demo.Options) error {
	simulation := app.Simulation{
		Data: c.Data, Bundles: c.Bundles, Encoder: c.encoderFlags.options(), Config: cfg,
		World: world, Visits: c.Visits, Versions: c.Bundle, Log: c.logger(),
	}
	shares, err := simulation.Run(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(map[string]any{"visits": c.Visits, "rows": shares})
	}
	w := newTable(
		fmt.Sprintf("expected clicks in %d visits, against the best order's", c.Visits),
		table.Row{"ranker", "share of the best [95 %]", "from the prior (0) to the best (1)"},
	)
	for _, s := range shares {
		reached := ""
		if s.Reached != nil {
			reached = s.Reached.String()
		}
		w.AppendRow(table.Row{s.Ranker, s.Share, reached})
	}
	w.Render()
	return nil
}
