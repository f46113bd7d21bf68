package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/evaluation"
	"relish/internal/stats"
)

// estimate says what a policy would have earned on lists that another one served.
func (c *evaluateCmd) estimate(ctx context.Context, l *lab) error {
	model, _, err := loadModel(c.root(c.Data), c.Policy, l.digest(), l.own, l.cfg)
	if err != nil {
		return err
	}
	policy, err := l.scorer(model.Version, model, true)
	if err != nil {
		return err
	}
	r, err := evaluation.EstimateOffPolicy(ctx, logSource(c.Data), l.state, c.options(l), policy)
	l.progress.end()
	if err != nil {
		return err
	}
	return c.printEstimate(r)
}

// printEstimate prints an off-policy estimate. A refusal is an error: nothing was found out.
func (c *evaluateCmd) printEstimate(r *evaluation.OffPolicyEstimate) error {
	var refused error
	if r.Refused != "" {
		refused = fmt.Errorf("no estimate for %s: %s", r.Policy, r.Refused)
	}
	if c.JSON {
		if err := printJSON(r); err != nil {
			return err
		}
		return refused
	}
	fmt.Printf("%d lists (%d others were not explored, %d cut off), worth %.0f where %s agrees with what was shown; mean weight %.3f, unsupported %.1f %%\n",
		r.Lists, r.Unexplored, r.Truncated, r.EffectiveLists, r.Policy, r.MeanWeight, 100*r.Unsupported)
	if refused != nil {
		return refused
	}
	w := table.NewWriter()
	w.SetOutputMirror(os.Stdout)
	w.SetTitle("gain of the first %d places, per list", r.K)
	w.AppendHeader(table.Row{"", "estimate", "95 %, by user"})
	row := func(name string, x *stats.Interval) {
		w.AppendRow(table.Row{name, fmt.Sprintf("%.4f", x.Mean), fmt.Sprintf("%.4f to %.4f", x.Low, x.High)})
	}
	row("as logged", r.Logged)
	w.AppendSeparator()
	row(r.Policy+", IPS", r.IPS)
	row(r.Policy+", SNIPS", r.SNIPS)
	row(r.Policy+", doubly robust", r.DR)
	row("doubly robust less logged", r.DRMinusLogged)
	w.Render()
	return nil
}
