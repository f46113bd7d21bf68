package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/experiment/simulation"
)

type experimentSimulateCmd struct {
	What  string  `arg:"" help:"aa: no effect. ab: a known lift. interleave: users that a decision needs, against A/B." enum:"aa,ab,interleave"`
	Runs  int     `help:"Number of simulated experiments (default: 2000; for interleave 50)." placeholder:"N"`
	Users int     `help:"Users in each experiment." default:"1000" placeholder:"N"`
	Days  int     `help:"Days that an experiment runs. Its report is read at the end of each day." default:"14" placeholder:"N"`
	Past  int     `help:"Days before the experiment, which CUPED uses." default:"7" placeholder:"N"`
	Lift  float64 `help:"The lift that ab plants, as a share." default:"0.2" placeholder:"SHARE"`
	Seed  uint64  `help:"The same seed gives the same experiments." default:"1" placeholder:"N"`
	JSON  bool    `help:"Print the counts as JSON."`
}

// Run simulates experiments with a known truth and counts how often their reports are right. The
// exit status is 1 if they are right less often than promised.
func (c *experimentSimulateCmd) Run(ctx context.Context) error {
	if c.What == "interleave" {
		return c.interleave(ctx)
	}
	if c.Runs == 0 {
		c.Runs = 2000
	}
	simulate := simulation.AA
	if c.What == "ab" {
		simulate = simulation.AB
	}
	traffic := simulation.Traffic{Users: c.Users, Days: c.Days, Past: c.Past, Lift: c.Lift}
	counts, err := simulate(ctx, c.Runs, c.Seed, traffic)
	if err != nil {
		return err
	}
	if err := c.print(counts, counts); err != nil {
		return err
	}
	for _, count := range counts {
		if !count.OK {
			return fmt.Errorf("%s: the share is %.4f, expected %.4f to %.4f; rerun with another "+
				"--seed, and report it if it repeats",
				count.What, count.Rate, count.Low, count.High)
		}
	}
	return nil
}

// print prints all as JSON, or the counts as a table.
func (c *experimentSimulateCmd) print(all any, counts []simulation.Count) error {
	if c.JSON {
		return printJSON(all)
	}
	w := newTable("", table.Row{"", "runs", "share", "promised, in 999 of 1,000 such counts"})
	for _, n := range counts {
		promised := fmt.Sprintf("%.4f to %.4f", n.Low, n.High)
		if n.Low == 0 && n.High == 1 {
			promised = ""
		}
		w.AppendRow(table.Row{n.What, n.Runs, fmt.Sprintf("%.4f", n.Rate), promised})
	}
	w.Render()
	return nil
}

const (
	// The two simulated models differ in quality about as much as a good idea differs from the
	// present model.
	betterQuality, presentQuality = 1, 0.8

	// planUsers is the number of simulated users in the estimate of the difference of the models.
	planUsers = 4000
)

// interleave compares how many users A/B testing and interleaving need to find the better model.
func (c *experimentSimulateCmd) interleave(ctx context.Context) error {
	if c.Runs == 0 {
		c.Runs = 50
	}
	trial := simulation.NewInterleavingTrial(c.Seed, betterQuality, presentQuality)
	plan, err := trial.Compare(ctx, planUsers)
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Printf("The better model gets %+.1f %% clicks. To find it with power 0.8, A/B needs "+
			"%.0f users and interleaving %.0f: 1/%.0f.\n",
			100*plan.Lift, plan.AB, plan.Interleave, plan.Ratio)
	}
	ab, interleaved, err := trial.Power(ctx, c.Runs, 20*int(plan.Interleave), int(plan.Interleave))
	if err != nil {
		return err
	}
	counts := []simulation.Count{ab, interleaved}
	return c.print(struct {
		Plan simulation.DesignComparison `json:"plan"`
		Runs []simulation.Count          `json:"runs"`
	}{plan, counts}, counts)
}
