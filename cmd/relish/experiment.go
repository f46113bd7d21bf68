package main

// experimentCmd groups what is done with experiments beside serving them.
type experimentCmd struct {
	Check    experimentCheckCmd    `cmd:"" help:"Read an experiments file and say what is wrong, or what it does."`
	Report   experimentReportCmd   `cmd:"" help:"Say from the event log which arm won, or what else to do."`
	Promote  experimentPromoteCmd  `cmd:"" help:"Give the winning arm every user, if the verdict is to ship it."`
	Simulate experimentSimulateCmd `cmd:"" help:"Prove the report's statistics by simulation."`
}
