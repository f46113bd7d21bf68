package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"relish/experiment"
	"relish/experiment/analysis"
	"relish/features/eventlog"
	"relish/features/ingest"
)

// reportFlags choose what an experiment's report looks at.
type reportFlags struct {
	dataFlags
	Log         []string `help:"Further data folders whose logs take part: one per replica." type:"path" placeholder:"DIR"`
	Experiments string   `help:"The file that serve has as --experiments: weights, metric, guardrails and the unit are taken from it." type:"path" placeholder:"FILE"`
	From        string   `help:"Impressions from this time on, 2026-05-01 or RFC 3339." placeholder:"TIME"`
	To          string   `help:"Impressions before this time." placeholder:"TIME"`
	Metric      string   `help:"ctr, conversion, revenue, ndcg, latency, degraded, coverage, diversity, or reward:EXPR such as 'reward:click + 5*purchase'. Default: the file's, else ctr." placeholder:"NAME"`
	Control     string   `help:"The arm that others are compared with. Default: the file's first, else the one called control." placeholder:"ARM"`
	MinEffect   float64  `help:"The smallest lift worth having, as a share." default:"0.01"`
	MinDays     int      `help:"Nothing is shipped earlier: weekdays differ." default:"7"`
	Alpha       float64  `help:"The chance of a false finding that is accepted, over all arms together." default:"0.05"`
	Segment     []string `help:"Context fields to look into, at most 3. Default: surface, device." placeholder:"FIELD"`
}

// report reads the log beside a running server.
func (c *reportFlags) report(ctx context.Context, name string) (*analysis.Report, error) {
	opt := analysis.Options{Experiment: name, MinEffect: c.MinEffect, MinDays: c.MinDays, Alpha: c.Alpha, Segments: c.Segment}
	var err error
	if opt.From, err = parseDay(c.From); err != nil {
		return nil, fmt.Errorf("%w: --from: %v", errUsage, err)
	}
	if opt.To, err = parseDay(c.To); err != nil {
		return nil, fmt.Errorf("%w: --to: %v", errUsage, err)
	}
	if c.Experiments != "" {
		set, err := experiment.Load(c.Experiments)
		if err != nil {
			return nil, err
		}
		stops, err := experiment.ReadStoppedArms(stopsFile(c.Data))
		if err != nil {
			return nil, err
		}
		if err := configured(&opt, set, stops); err != nil {
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
	opt.Progress = func(done int) { p.set(done, 0) }
	logs := []string{ingest.LogDir(c.Data)}
	for _, dir := range c.Log {
		logs = append(logs, ingest.LogDir(dir))
	}
	return analysis.Run(ctx, eventlog.Merge(logs...), opt)
}

// configured takes over what the file says of the experiment. Once an arm was stopped its users are missing, so that the
// report ends there, unless another end was asked for.
func configured(opt *analysis.Options, set *experiment.Set, stops []experiment.StoppedArm) error {
	e := set.Find(opt.Experiment)
	if e == nil {
		return fmt.Errorf("experiment %q is not in the file; without --experiments it is reported on from the log alone", opt.Experiment)
	}
	if e.HashAttribute != experiment.HashUser && e.HashAttribute != experiment.HashSession {
		return fmt.Errorf("experiment %s assigns by the context field %s; interactions do not carry it, so only experiments by user or session can be reported on", e.Name, e.HashAttribute)
	}
	if mine := e.StoppedArms(stops); len(mine) > 0 && opt.To.IsZero() {
		opt.To = mine[0].At
	}
	opt.Unit, opt.Metric, opt.Control = e.HashAttribute, e.Metric, e.Arms[0].Name
	for _, g := range e.Guardrails {
		opt.Guardrails = append(opt.Guardrails, analysis.Guardrail{Metric: g.Metric, Margin: g.Margin})
	}
	if e.Mode == experiment.ModeInterleave {
		return nil
	}
	opt.Weights = map[string]float64{}
	for _, a := range e.Arms {
		if a.Weight > 0 {
			opt.Weights[a.Name] = a.Weight
		}
	}
	return nil
}

// parseDay reads a day (UTC) or a time; "" is the zero time.
func parseDay(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%.40q is no time; write 2026-05-01 (UTC) or 2026-05-01T10:00:00Z", s)
	}
	return t, nil
}

type experimentReportCmd struct {
	Name string `arg:"" help:"The experiment."`
	reportFlags
	JSON bool   `help:"Print the report as JSON."`
	HTML string `help:"Also write the report as one self-contained page." type:"path" placeholder:"FILE"`
}

// Run reports on an experiment.
func (c *experimentReportCmd) Run(ctx context.Context) error {
	r, err := c.report(ctx, c.Name)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		if err := writeFile(c.HTML, r.WriteHTML); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(r)
	}
	r.WriteText(os.Stdout)
	return nil
}

// writeFile puts a whole file into the place of an older one.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := write(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
