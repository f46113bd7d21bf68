package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/internal/bench"
)

// overload measures the goodput at multiples of the peak, for each number of candidates, and prints
// it.
func (c *benchCmd) overload(ctx context.Context, url string, users, items []string) error {
	for _, n := range c.Candidates {
		results, err := bench.Overload(ctx, bench.OverloadOptions{
			Options: bench.Options{
				URL: url, Key: c.Key, Users: users, Items: items, Candidates: n,
				Duration: c.Duration, Seed: c.Seed, Record: c.Record,
			},
			Factors: c.Overload,
		})
		if err != nil {
			return err
		}
		if c.JSON {
			for _, r := range results {
				if err := printJSON(r); err != nil {
					return err
				}
			}
			continue
		}
		c.printOverload(n, results)
	}
	return nil
}

func (c *benchCmd) printOverload(candidates int, results []bench.OverloadResult) {
	title := fmt.Sprintf("%d candidates, %s each, answers a second; %d cores", candidates,
		c.Duration, runtime.NumCPU())
	w := newTable(title, table.Row{
		"load", "sent", "good", "goodput", "good by cpu", "degraded or late", "refused",
		"failed", "p50 ms", "p99 ms", "refusals p99 ms", "recovery s",
	})
	ms := func(us int64) string { return fmt.Sprintf("%.1f", float64(us)/1000) }
	for _, r := range results {
		recovery := ""
		switch {
		case r.Recovery != nil:
			recovery = fmt.Sprintf("%.1f", float64(*r.Recovery)/1000)
		case r.Factor > 1:
			recovery = "none"
		}
		load := "peak"
		if r.Factor > 0 {
			load = fmt.Sprintf("%g times", r.Factor)
		}
		w.AppendRow(table.Row{
			load, fmt.Sprintf("%.0f", r.Sent), fmt.Sprintf("%.0f", r.Good),
			fmt.Sprintf("%.2f", r.Goodput), fmt.Sprintf("%.2f", r.GoodPerCPU),
			fmt.Sprintf("%.0f", r.Late),
			fmt.Sprintf("%.0f", r.Refused), r.Failed, ms(r.P50), ms(r.P99), ms(r.RefusedP99),
			recovery,
		})
	}
	w.Render()
}
