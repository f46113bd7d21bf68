package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"relish/experiment"
	"relish/experiment/analysis"
	"relish/features"
	"relish/features/ingest"
	"relish/internal/app"
	"relish/internal/durable"
	"relish/internal/plural"
)

// reportFlags choose what the report on an experiment looks at.
type reportFlags struct {
	dataFlags   `group:"Data:"`
	Log         []string `help:"Data folders of other replicas. The report reads their logs too." type:"path" placeholder:"DIR"`
	Experiments string   `help:"Experiments file, which gives the weights, metric, guardrails and unit." type:"path" placeholder:"FILE"`
	From        string   `help:"Only impressions from this time on: 2026-05-01 or RFC 3339." placeholder:"TIME"`
	To          string   `help:"Only impressions before this time." placeholder:"TIME"`
	Metric      string   `help:"ctr, conversion, revenue, ndcg, latency, degraded, coverage, diversity or reward:EXPR (default: the file's, or ctr)." placeholder:"NAME"`
	Control     string   `help:"Arm to compare with (default: the file's first, or the one named control)." placeholder:"ARM"`
	MinEffect   float64  `help:"Smallest lift that is worth shipping, as a share." default:"0.01" placeholder:"SHARE"`
	MinDays     int      `help:"Days before an arm may be shipped, because weekdays differ." default:"7" placeholder:"N"`
	Alpha       float64  `help:"Probability of a false finding, over all arms together." default:"0.05" placeholder:"P"`
	Segment     []string `help:"Context fields to break the result down by, at most 3 (default: surface, device)." placeholder:"FIELD"`
}

// report analyses an experiment from the event logs, beside a running service.
func (c *reportFlags) report(ctx context.Context, name string) (*analysis.Report, error) {
	opt := analysis.Options{
		Experiment: name, MinEffect: c.MinEffect, MinDays: c.MinDays, Alpha: c.Alpha,
		Segments: c.Segment,
	}
	var err error
	if opt.From, err = parseTime(c.From); err != nil {
		return nil, app.Usagef("--from: %w", err)
	}
	if opt.To, err = parseTime(c.To); err != nil {
		return nil, app.Usagef("--to: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	for _, dir := range c.Log {
		if err := app.CheckData("--log", dir); err != nil {
			return nil, err
		}
	}
	if c.Experiments != "" {
		if err := c.configure(&opt); err != nil {
			return nil, err
		}
	}
	if c.Metric != "" {
		opt.Metric = c.Metric
	}
	if c.Control != "" {
		opt.Control = c.Control
	}
	p := newProgress("records")
	defer p.end()
	opt.Progress = p.count
	logs := []string{ingest.LogDir(c.Data)}
	for _, dir := range c.Log {
		logs = append(logs, ingest.LogDir(dir))
	}
	onConflicts := func(n int) {
		fmt.Fprintf(os.Stderr, "warning: %s left out: another log has another event with the "+
			"same id\n", plural.Count(n, "event"))
	}
	records := ingest.ReadLogs(features.DefaultConfig().DedupeIDs, onConflicts, logs...)
	return analysis.Run(ctx, records, opt)
}

// configure takes over what the experiments file says, and which arms were stopped.
func (c *reportFlags) configure(opt *analysis.Options) error {
	set, err := experiment.Load(c.Experiments)
	if err != nil {
		return err
	}
	stopped, err := experiment.ReadStoppedArms(app.StoppedArmsFile(c.Data))
	if err != nil {
		return err
	}
	return app.ConfigureReport(opt, set, stopped)
}

// parseTime reads a day (UTC) or a time; the empty string is the zero time.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%.40q is not a time; write 2026-05-01 (UTC) or 2026-05-01T10:00:00Z",
			s)
	}
	return t, nil
}

type experimentReportCmd struct {
	Name string `arg:"" help:"Name of the experiment."`
	reportFlags
	JSON bool   `help:"Print the report as JSON."`
	HTML string `help:"Also write the report as a self-contained HTML page." type:"path" placeholder:"FILE"`
}

// Run prints the report on an experiment.
func (c *experimentReportCmd) Run(ctx context.Context) error {
	r, err := c.report(ctx, c.Name)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		if err := durable.Replace(durable.Disk, c.HTML, r.WriteHTML); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(r)
	}
	var text strings.Builder
	r.WriteText(&text)
	fmt.Print(printable(text.String()))
	return nil
}
