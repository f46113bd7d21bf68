package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"relish/experiment"
	"relish/experiment/analysis"
	"relish/internal/app"
	"relish/internal/durable"
)

type experimentPromoteCmd struct {
	Name string `arg:"" help:"Name of the experiment."`
	reportFlags
	logFlags `group:"Logging:"`
	Arm      string `help:"With --force: the arm to promote (default: that of the decision)." placeholder:"ARM"`
	Force    string `help:"Promote against the decision. The log and the file record the reason and your name." placeholder:"REASON"`
}

// Run makes the winning arm the default: it changes the experiments file so that the arm gets every
// user. A running service reads the file again by itself.
func (c *experimentPromoteCmd) Run(ctx context.Context) error {
	if c.Experiments == "" {
		return app.Usagef("name the experiments file to change with --experiments FILE")
	}
	r, err := c.report(ctx, c.Name)
	if err != nil {
		return err
	}
	arm, note, err := c.decide(r)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(c.Experiments)
	if err != nil {
		return err
	}
	changed, err := experiment.Promote(data, c.Name, arm, note)
	if err != nil {
		return err
	}
	err = durable.Replace(durable.Disk, c.Experiments, func(w io.Writer) error {
		_, err := w.Write(changed)
		return err
	})
	if err != nil {
		return err
	}
	c.logger().Info("arm promoted", "experiment", c.Name, "arm", arm, "decision",
		string(r.Decision.Action),
		"by", userName(), "force_reason", c.Force)
	fmt.Printf("%s: %s gets every user from now on (%s)\n", c.Experiments, arm, note)
	return nil
}

// decide returns the arm to promote and a note for the file. Without --force, only the decision to
// ship promotes an arm. The report never decides to ship an
// arm with a breached or undecided guardrail.
func (c *experimentPromoteCmd) decide(r *analysis.Report) (arm, note string, err error) {
	decision := r.Decision
	today := time.Now().UTC().Format(time.DateOnly)
	switch {
	case c.Force != "" && c.Arm == "" && decision.Arm == "":
		return "", "", app.Usagef("the decision names no arm; name one with --arm")
	case c.Force != "":
		if arm = c.Arm; arm == "" {
			arm = decision.Arm
		}
		return arm, fmt.Sprintf("%s: %s promoted by %s against the decision %q, because: %s",
			today, arm, userName(), decision.Action, c.Force), nil
	case decision.Action != analysis.Ship:
		return "", "", fmt.Errorf("not promoted. %s To promote against this decision, give the "+
			"reason: --force REASON", decision.Summary)
	case c.Arm != "" && c.Arm != decision.Arm:
		return "", "", fmt.Errorf("not promoted: the decision is to ship %s, not %s. Leave out "+
			"--arm, or give the reason: --force REASON", decision.Arm, c.Arm)
	}
	return decision.Arm, fmt.Sprintf("%s: %s promoted by %s, decision: %s",
		today, decision.Arm, userName(), decision.Summary), nil
}

// userName is the name of the user that runs the command.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "an unknown user"
}
