package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/experiment/simulation"
)

type experimentSimulateCmd struct {
	What  string  `arg:"" help:"aa: no effect, what is found is false. ab: a known lift, do intervals hold it. interleave: how many users a decision takes, beside A/B." enum:"aa,ab,interleave"`
	Runs  int     `help:"Simulated experiments. Default: 2000, for interleave 50."`
	Users int     `help:"Users of each one." default:"1000"`
	Days  int     `help:"Days that it runs; its report is looked at at the end of each." default:"14"`
	Past  int     `help:"Days before it, of which CUPED knows." default:"7"`
	Lift  float64 `help:"The lift that ab plants." default:"0.2"`
	Seed  uint64  `help:"Same seed, same experiments." default:"1"`
	JSON  bool    `help:"Print the counts as JSON."`
}

// Run simulates experiments with a known truth and counts how often their reports are right. Exit status 1
// when a promise is not kept.
func (c *experimentSimulateCmd) Run(ctx context.Context) error {
	if c.What == "interleave" {
		return c.interleave(ctx)
	}
	if c.Runs == 0 {
		c.Runs = 2000
	}
	simulated := simulation.AA
	if c.What == "ab" {
		simulated = simulation.AB
	}
	counts, err := simulated(ctx, c.Runs, c.Seed, simulation.Traffic{Users: c.Users, Days: c.Days, Past: c.Past, Lift: c.Lift})
	if err != nil {
		return err
	}
	if err := c.print(counts, counts); err != nil {
		return err
	}
	for _, count := range counts {
		if !count.OK {
			return fmt.Errorf("not as promised: %s", count.What)
		}
	}
	return nil
}

func (c *experimentSimulateCmd) print(all any, counts []simulation.Count) error {
	if c.JSON {
		return printJSON(all)
	}
	w := table.NewWriter()
	w.SetOutputMirror(os.Stdout)
	w.AppendHeader(table.Row{"", "runs", "share", "promised, in 999 of 1,000 such counts"})
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

// Two models of the demo's world that differ as a good idea differs from what is there; and how many users
// measure by how much.
const (
	duelFirst, duelSecond = 1, 0.8
	duelUsers             = 4000
)

func (c *experimentSimulateCmd) interleave(ctx context.Context) error {
	if c.Runs == 0 {
		c.Runs = 50
	}
	d := simulation.NewInterleavingTrial(c.Seed, duelFirst, duelSecond)
	plan, err := d.Compare(ctx, duelUsers)
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Printf("The better model has %+.1f %% clicks. To find it with power 0.8, A/B needs %.0f users, an interleaving %.0f: 1/%.0f.\n",
			100*plan.Lift, plan.AB, plan.Interleave, plan.Ratio)
	}
	ab, mixed, err := d.Power(ctx, c.Runs, 20*int(plan.Interleave), int(plan.Interleave))
	if err != nil {
		return err
	}
	return c.print(struct {
		Plan simulation.DesignComparison `json:"plan"`
		Runs []simulation.Count          `json:"runs"`
	}{plan, []simulation.Count{ab, mixed}}, []simulation.Count{ab, mixed})
}
