package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/app"
	"relish/internal/bench"
	"relish/internal/config"
	"relish/ranker"
)

type benchCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`

	URL string `help:"A running service. Without it, one is started on --data." placeholder:"URL"`
	Key string `help:"API key for --url." placeholder:"KEY"`

	Candidates []int `help:"Numbers of candidates to measure." default:"24,100,300,1000"`

	Rate float64 `help:"Requests a second, sent on time; 0: one after the other." default:"200"`

	Duration time.Duration `help:"Time to measure each number of candidates." default:"5s"`

	Catalogue int    `help:"Rank this many generated items, and not --data." placeholder:"N"`
	Seed      uint64 `help:"Seed of the requests." default:"1" placeholder:"N"`
	Record    bool   `help:"Let the service record the rankings as impressions."`
	JSON      bool   `help:"Print one JSON object for each number of candidates."`

	Overload []float64 `help:"Measure goodput at these multiples of the peak." placeholder:"FACTOR"`

	againstFlags `group:"Comparison of two services:"`
}

// Run measures the latency of rankings and prints it.
func (c *benchCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if err := c.checkAgainst(); err != nil {
		return err
	}
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
	users, items, err := readPopulation(c.Data)
	if err != nil {
		return err
	}
	if c.Against != "" {
		return c.compare(ctx, users, items)
	}
	url := c.URL
	if url == "" {
		stop, addr, err := c.start(ctx, cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		url = "http://" + addr
	}
	if len(c.Overload) > 0 {
		return c.overload(ctx, url, users, items)
	}
	unit := bench.Calibrate()
	return measureEach(c, func(candidates int) (*bench.Result, error) {
		return bench.Run(ctx, bench.Options{
			URL: url, Key: c.Key, Users: users, Items: items, Candidates: candidates,
			Rate: c.Rate, Duration: c.Duration, Seed: c.Seed, Record: c.Record,
		})
	}, func(results []*bench.Result) { c.print(results, unit) })
}

// measureEach measures each number of candidates. It prints each result as JSON at once, or all of
// them as a table.
func measureEach[T any](
	c *benchCmd, measure func(candidates int) (T, error), printTable func([]T),
) error {
	var results []T
	for _, n := range c.Candidates {
		r, err := measure(n)
		if err != nil {
			return err
		}
		results = append(results, r)
		if c.JSON {
			if err := printJSON(r); err != nil {
				return err
			}
		}
	}
	if !c.JSON {
		printTable(results)
	}
	return nil
}

// start runs the service in this process on a free port of the loopback interface. All texts have
// vectors when it returns.
func (c *benchCmd) start(
	ctx context.Context, cfg *config.Config,
) (stop func() error, addr string, err error) {
	if !c.NoText {
		if err := c.encode(ctx, cfg); err != nil {
			return nil, "", err
		}
	}
	quiet := logFlags{LogFormat: c.LogFormat, LogLevel: "error"}
	a, err := app.New(ctx, app.Options{
		Config: cfg, Store: c.storeFlags.options(), Encoder: c.encoderFlags.options(),
		Bundles: c.Bundles,
		Log:     quiet.logger(),
	})
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", errors.Join(err, a.Close(ctx))
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, listener) }()
	return func() error {
		cancel()
		return errors.Join(<-done, a.Close(ctx))
	}, listener.Addr().String(), nil
}

// encode encodes the texts that have no vector.
func (c *benchCmd) encode(ctx context.Context, cfg *config.Config) (err error) {
	e, err := app.OpenEngine(ctx, engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	_, err = encodeAll(ctx, e, app.BundleFolder(c.Bundles, c.Data))
	return err
}

// What generate writes besides the items.
const (
	generatedClicks = 20_000
	generatedUsers  = 200
)

// generate fills the data folder with items and clicks.
func (c *benchCmd) generate(ctx context.Context, cfg *config.Config) (err error) {
	e, err := app.OpenEngine(ctx, engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	p := newProgress("generate")
	defer p.end()
	loader := newStrictLoader(e.Store, p)
	for i := range c.Catalogue {
		n := strconv.Itoa(i)
		title := "item number " + n
		item := ranker.Event{
			Kind: ranker.EventItem, ID: "gi" + n, ItemID: "i" + n, Title: &title,
			Tags:   []string{"tag" + strconv.Itoa(i%500), "tag" + strconv.Itoa(i%77)},
			Fields: map[string]ranker.FieldValue{"price": ranker.NumberValue(float64(i % 100))},
		}
		if err := loader.Add(ctx, i+1, item); err != nil {
			return err
		}
	}
	for i := range generatedClicks {
		click := ranker.Event{
			Kind: ranker.EventInteraction, ID: "ga" + strconv.Itoa(i), Action: "click",
			UserID: "u" + strconv.Itoa(i%generatedUsers),
			ItemID: "i" + strconv.Itoa(i*7919%c.Catalogue),
		}
		if err := loader.Add(ctx, c.Catalogue+i+1, click); err != nil {
			return err
		}
	}
	return loader.Flush(ctx)
}

// Bounds of the users and items that requests are drawn from.
const (
	maxBenchUsers = 1000
	maxBenchItems = 100_000
)

// readPopulation reads the users and items of an event log.
func readPopulation(data string) (users, items []string, err error) {
	seenUser, seenItem := map[string]bool{}, map[string]bool{}
	for record, err := range eventlog.Read(ingest.LogDir(data), 1) {
		if err != nil {
			return nil, nil, err
		}
		e := &record.Event
		if e.Kind == ranker.EventItem && !seenItem[e.ItemID] && len(items) < maxBenchItems {
			seenItem[e.ItemID] = true
			items = append(items, e.ItemID)
		}
		if e.Kind == ranker.EventInteraction && !seenUser[e.UserID] && len(users) < maxBenchUsers {
			seenUser[e.UserID] = true
			users = append(users, e.UserID)
		}
	}
	if len(items) == 0 || len(users) == 0 {
		return nil, nil, fmt.Errorf("%s has %d items and %d users with interactions, and the "+
			"benchmark needs both. Fill it with relish demo or relish import, or pass --catalogue",
			filepath.Clean(data), len(items), len(users))
	}
	return users, items, nil
}

func (c *benchCmd) print(results []*bench.Result, unit time.Duration) {
	load := fmt.Sprintf("open loop, %g requests/s", c.Rate)
	if c.Rate == 0 {
		load = "one request after the other"
	}
	title := fmt.Sprintf("%s, %s each; %d cores; machine unit %s", load, c.Duration,
		runtime.NumCPU(), unit.Round(10*time.Microsecond))
	w := newTable(title, table.Row{
		"candidates", "requests", "errors", "degraded", "text coverage", "p50 ms", "p90 ms",
		"p99 ms", "max ms",
	})
	ms := func(us int64) string { return fmt.Sprintf("%.2f", float64(us)/1000) }
	for _, r := range results {
		w.AppendRow(table.Row{
			r.Candidates, r.Requests, r.Errors, r.Degraded, fmt.Sprintf("%.3f", r.Coverage),
			ms(r.P50), ms(r.P90), ms(r.P99), ms(r.Max),
		})
	}
	w.Render()
}
