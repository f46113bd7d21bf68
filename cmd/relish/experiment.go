package main

// experimentCmd groups the commands on experiments. relish serve assigns them.
type experimentCmd struct {
	Check    experimentCheckCmd    `cmd:"" help:"Validate an experiments file and print what it does."`
	Report   experimentReportCmd   `cmd:"" help:"Analyse an experiment from the event log: which arm won, or how long to go on."`
	Promote  experimentPromoteCmd  `cmd:"" help:"Give all users the winning arm, if the report decides to ship it."`
	Simulate experimentSimulateCmd `cmd:"" help:"Check the report's statistics on simulated experiments."`
}
