package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/experiment"
)

// experimentCmd groups the commands on experiments. relish serve assigns them.
type experimentCmd struct {
	Check    experimentCheckCmd    `cmd:"" help:"Validate an experiments file and print what it does."`
	Report   experimentReportCmd   `cmd:"" help:"Analyse an experiment from the event log: which arm won, or how long to go on."`
	Promote  experimentPromoteCmd  `cmd:"" help:"Give all users the winning arm, if the report decides to ship it."`
	Simulate experimentSimulateCmd `cmd:"" help:"Check the report's statistics on simulated experiments."`
}

type experimentCheckCmd struct {
	File string `arg:"" help:"Experiments file, as for relish serve --experiments." type:"path"`
	JSON bool   `help:"Print the experiments as JSON."`
}

// Run reads the file as relish serve does. The exit status is 1 if relish serve would refuse it.
func (c *experimentCheckCmd) Run() error {
	set, err := experiment.Load(c.File)
	if err != nil {
		return err
	}
	status := set.Status(time.Now(), nil)
	if c.JSON {
		return printJSON(status)
	}
	w := newTable(fmt.Sprintf("version %s, holdout %.4g %%", status.Version, 100*status.Holdout),
		table.Row{"layer", "experiment", "state", "by", "users", "arm", "weight", "changes"})
	for _, l := range status.Layers {
		for _, e := range l.Experiments {
			for i, a := range e.Arms {
				row := table.Row{
					"", "", "", "", "", a.Name, fmt.Sprintf("%.4g %%", 100*a.Weight),
					strings.Join(a.Changes, ", "),
				}
				if e.Mode == experiment.ModeInterleave {
					row[6] = "both"
				}
				if i == 0 {
					row[0], row[1], row[2] = l.Name, e.Name, e.Status
					row[3], row[4] = e.HashAttribute, population(e)
				}
				w.AppendRow(row)
			}
			w.AppendSeparator()
		}
	}
	w.Render()
	return nil
}

// population describes who takes part.
func population(e experiment.Status) string {
	out := fmt.Sprintf("%.4g %%", 100*e.Coverage)
	if n, ok := e.Namespace.([]any); ok {
		out += fmt.Sprintf(" of %v %v-%v", n...)
	}
	if e.Condition != nil {
		out += ", on condition"
	}
	return out
}
