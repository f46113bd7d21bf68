package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/internal/app"
	"relish/internal/bench"
)

// againstFlags say with which service --url is compared.
type againstFlags struct {
	Against    string `help:"Compare --url with this service, in turns." placeholder:"URL"`
	AgainstKey string `help:"API key for --against." placeholder:"KEY"`

	Dialect string `help:"API of --against; also metarank." enum:"relish,metarank" default:"relish"`

	AgainstModel string `help:"Model of --against, with --dialect metarank." default:"xgboost"`

	PID []int `help:"Processes of --url and --against (default: the listening ones)." name:"pid"`
}

// checkAgainst returns an error if the flags of a comparison do not go together.
func (c *benchCmd) checkAgainst() error {
	var err error
	switch {
	case c.Against == "" && len(c.PID) > 0:
		err = errors.New("--pid is for --against: add --against URL, or leave --pid out")
	case c.Against != "" && c.URL == "":
		err = errors.New("--against compares two running services: say where the other one is " +
			"with --url")
	case c.Against != "" && len(c.Overload) > 0:
		err = errors.New("--against and --overload are two measurements: run one after the other")
	case len(c.PID) != 0 && len(c.PID) != 2:
		err = fmt.Errorf("--pid needs two processes, those of --url and --against, not %d",
			len(c.PID))
	}
	if err != nil {
		return app.UsageError{Err: err}
	}
	return nil
}

// compare measures both services for each number of candidates, and prints their figures.
func (c *benchCmd) compare(ctx context.Context, users, items []string) error {
	opt := bench.CompareOptions{
		Options: bench.Options{
			Users: users, Items: items, Duration: c.Duration, Seed: c.Seed, Record: c.Record,
		},
		Services: [2]bench.Service{
			{URL: c.URL, Key: c.Key, Dialect: bench.Relish},
			{URL: c.Against, Key: c.AgainstKey, Dialect: c.Dialect, Model: c.AgainstModel},
		},
		PIDs: c.processes(ctx),
	}
	return measureEach(c, func(candidates int) (*bench.Comparison, error) {
		opt.Candidates = candidates
		return bench.Compare(ctx, opt)
	}, c.printComparison)
}

// processes returns the processes of both services, 0 for one that is not found.
func (c *benchCmd) processes(ctx context.Context) (pids [2]int) {
	if len(c.PID) == 2 {
		return [2]int(c.PID)
	}
	for i, url := range []string{c.URL, c.Against} {
		pid, err := bench.ListeningProcess(ctx, url)
		if err != nil {
			fmt.Fprintf(os.Stderr, "no memory and processor time: %v; pass --pid\n", err)
		}
		pids[i] = pid
	}
	return pids
}

func (c *benchCmd) printComparison(results []*bench.Comparison) {
	title := fmt.Sprintf("A: %s, B: %s (dialect %s); %s for each row and service, in turns; "+
		"%d cores; ratios with quartiles; above 1, A is better",
		c.URL, c.Against, c.Dialect, c.Duration, runtime.NumCPU())
	w := newTable(title, table.Row{
		"candidates", "connections", "p50 ms A", "B", "ratio", "requests/s A", "B", "ratio",
		"CPU ms A", "B", "ratio", "degraded A", "B", "errors A", "B",
	})
	for _, r := range results {
		for _, l := range r.Loads {
			a, b := l.Services[0], l.Services[1]
			w.AppendRow(table.Row{
				r.Candidates, l.Connections,
				milliseconds(a.P50), milliseconds(b.P50), formatRatio(l.P50Ratio),
				fmt.Sprintf("%.0f", a.Rate), fmt.Sprintf("%.0f", b.Rate),
				formatRatio(l.RateRatio),
				known(milliseconds(a.CPU), a.CPU > 0), known(milliseconds(b.CPU), b.CPU > 0),
				known(fmt.Sprintf("%.2f", l.CPURatio), l.CPURatio > 0),
				percent(a.Degraded), known(percent(b.Degraded), c.Dialect != bench.Metarank),
				a.Errors, b.Errors,
			})
		}
	}
	w.Render()
	for _, r := range results {
		fmt.Printf("%d candidates, %d different requests: A answered %d with every candidate, "+
			"B %d; the order was equal in %d; memory in MiB A %s, B %s\n", r.Candidates,
			r.Compared, r.Complete[0], r.Complete[1], r.EqualOrder, mebibytes(r.RSS[0]),
			mebibytes(r.RSS[1]))
	}
}

func milliseconds(us float64) string { return fmt.Sprintf("%.2f", us/1000) }

func formatRatio(r bench.Ratio) string {
	return fmt.Sprintf("%.2f [%.2f, %.2f]", r.Median, r.Q1, r.Q3)
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func mebibytes(n int64) string { return known(strconv.FormatInt(n>>20, 10), n > 0) }

// known returns a cell of the table, or what stands for a figure that is not known.
func known(cell string, isKnown bool) string {
	if !isKnown {
		return "-"
	}
	return cell
}
