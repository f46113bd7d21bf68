package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/bench"
	"relish/internal/config"
	"relish/ranker"
)

type benchCmd struct {
	storeFlags
	bundleFlags
	encoderFlags
	logFlags
	URL        string        `help:"A running service to measure. Without it the service is started here, on the data folder." placeholder:"URL"`
	Key        string        `help:"API key for --url." placeholder:"KEY"`
	Candidates []int         `help:"Candidate counts to sweep over." default:"10,100,300,1000"`
	Rate       float64       `help:"Requests a second, sent whether or not earlier ones are answered: a stall shows in full. What a machine serves at half its load shows the latency people see. 0 sends one after the other: the latency of an idle service." default:"200"`
	Duration   time.Duration `help:"Measured time per candidate count." default:"5s"`
	Catalogue  int           `help:"Measure on this many generated items in a temporary folder instead of --data: how cost grows with the catalogue." default:"0"`
	Seed       uint64        `help:"Seed of the requests." default:"1"`
	JSON       bool          `help:"Print one JSON object per row."`
}

// Run measures and prints the table.
func (c *benchCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if c.Catalogue > 0 {
		dir, err := os.MkdirTemp("", "relish-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.Data, c.NoText = dir, true
		if err := c.generate(ctx, cfg); err != nil {
			return err
		}
	}
	users, items, err := population(c.Data)
	if err != nil {
		return err
	}
	url := c.URL
	if url == "" {
		stop, addr, err := c.start(ctx, cfg)
		if err != nil {
			return err
		}
		defer func() {
			if stopErr := stop(); err == nil {
				err = stopErr
			}
		}()
		url = "http://" + addr
	}
	unit := bench.Calibrate()
	var rows []*bench.Result
	for _, n := range c.Candidates {
		r, err := bench.Run(ctx, bench.Options{URL: url, Key: c.Key, Users: users, Items: items, Candidates: n,
			Rate: c.Rate, Duration: c.Duration, Seed: c.Seed})
		if err != nil {
			return err
		}
		rows = append(rows, r)
		if c.JSON {
			if err := printJSON(r); err != nil {
				return err
			}
		}
	}
	if !c.JSON {
		c.print(rows, unit)
	}
	return nil
}

// start runs the service in this process on a free port of the loopback interface.
func (c *benchCmd) start(ctx context.Context, cfg *config.Config) (stop func() error, addr string, err error) {
	log := c.logger()
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{}, log)
	if err != nil {
		return nil, "", err
	}
	if _, err := embedAll(ctx, e, c.root(c.Data)); err != nil {
		e.closeTimed(&err)
		return nil, "", err
	}
	serve := serveCmd{MaxInFlight: 256, logFlags: c.logFlags}
	serve.LogLevel = "error"
	models, err := c.openModels(ctx, c.root(c.Data), e, cfg, serve.logger())
	if err != nil {
		e.closeTimed(&err)
		return nil, "", err
	}
	server, err := serve.server(e, models, nil, cfg, serve.logger())
	if err != nil {
		e.closeTimed(&err)
		return nil, "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.closeTimed(&err)
		return nil, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	return func() error {
		cancel()
		err := <-done
		e.closeTimed(&err)
		return err
	}, ln.Addr().String(), nil
}

// generate fills the folder with items and a little behaviour.
func (c *benchCmd) generate(ctx context.Context, cfg *config.Config) (err error) {
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{onItem: noHook}, c.logger())
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	im := &importer{store: e.store, strict: true, progress: newProgress("generate"), name: "generated"}
	defer im.progress.end()
	add := func(ev event.Event) error {
		im.batch, im.lines = append(im.batch, ev), append(im.lines, 0)
		if len(im.batch) < importBatch {
			return nil
		}
		return im.flush(ctx)
	}
	for i := range c.Catalogue {
		title := "item number " + strconv.Itoa(i)
		ev := event.Event{Kind: event.EventItem, ID: "gi" + strconv.Itoa(i), ItemID: "i" + strconv.Itoa(i), Title: &title,
			Tags:   []string{"tag" + strconv.Itoa(i%500), "tag" + strconv.Itoa(i%77)},
			Fields: map[string]ranker.FieldValue{"price": ranker.NumberValue(float64(i % 100))}}
		if err := add(ev); err != nil {
			return err
		}
	}
	for i := range 20_000 {
		ev := event.Event{Kind: event.EventInteraction, ID: "ga" + strconv.Itoa(i), UserID: "u" + strconv.Itoa(i%200),
			ItemID: "i" + strconv.Itoa(i*7919%c.Catalogue), Action: "click"}
		if err := add(ev); err != nil {
			return err
		}
	}
	return im.flush(ctx)
}

// bounds of what a benchmark draws from.
const (
	benchUsers = 1000
	benchItems = 100_000
)

// population reads the users and items of a log.
func population(dir string) (users, items []string, err error) {
	seenUser, seenItem := map[string]bool{}, map[string]bool{}
	for rec, err := range eventlog.Read(ingest.LogDir(dir), 1) {
		if err != nil {
			return nil, nil, err
		}
		e := &rec.Event
		if e.Kind == event.EventItem && !seenItem[e.ItemID] && len(items) < benchItems {
			seenItem[e.ItemID] = true
			items = append(items, e.ItemID)
		}
		if e.Kind == event.EventInteraction && !seenUser[e.UserID] && len(users) < benchUsers {
			seenUser[e.UserID] = true
			users = append(users, e.UserID)
		}
	}
	if len(items) == 0 || len(users) == 0 {
		return nil, nil, fmt.Errorf("%s holds no items or no interactions; fill it with relish demo or relish import", filepath.Clean(dir))
	}
	return users, items, nil
}

func (c *benchCmd) print(rows []*bench.Result, unit time.Duration) {
	w := table.NewWriter()
	w.SetOutputMirror(os.Stdout)
	load := fmt.Sprintf("open loop, %g requests/s", c.Rate)
	if c.Rate == 0 {
		load = "one after the other"
	}
	w.SetTitle(fmt.Sprintf("%s, %s each; %d cores; machine unit %s", load, c.Duration, runtime.NumCPU(), unit))
	w.AppendHeader(table.Row{"candidates", "requests", "errors", "degraded", "text coverage", "p50 ms", "p90 ms", "p99 ms", "max ms"})
	ms := func(us int64) string { return fmt.Sprintf("%.2f", float64(us)/1000) }
	for _, r := range rows {
		w.AppendRow(table.Row{r.Candidates, r.Requests, r.Errors, r.Degraded, fmt.Sprintf("%.3f", r.Coverage), ms(r.P50), ms(r.P90), ms(r.P99), ms(r.Max)})
	}
	w.Render()
}
