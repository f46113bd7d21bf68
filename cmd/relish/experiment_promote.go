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
)

type experimentPromoteCmd struct {
	Name string `arg:"" help:"The experiment."`
	reportFlags
	logFlags
	Arm   string `help:"Which arm, with --force. Default: the verdict's." placeholder:"ARM"`
	Force string `help:"Promote although the verdict is another, for this reason. It is logged and written into the file, with your name." placeholder:"REASON"`
}

// Run makes the winning arm the default: the experiments file gives it every user. A running server takes
// the file over by itself.
func (c *experimentPromoteCmd) Run(ctx context.Context) error {
	if c.Experiments == "" {
		return fmt.Errorf("%w: --experiments FILE is needed: it is the file that is changed", errUsage)
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
	err = writeFile(c.Experiments, func(w io.Writer) error {
		_, err := w.Write(changed)
		return err
	})
	if err != nil {
		return err
	}
	c.logger().Info("arm promoted", "experiment", c.Name, "arm", arm, "verdict", string(r.Decision.Action), "by", whoami(), "forced", c.Force)
	fmt.Printf("%s: %s gets every user from now on (%s)\n", c.Experiments, arm, note)
	return nil
}

// decide names the arm and says why, for the file. Without --force only the verdict "ship" promotes, which
// no arm with a hurt or undecided guardrail gets.
func (c *experimentPromoteCmd) decide(r *analysis.Report) (arm, note string, err error) {
	today := time.Now().UTC().Format(time.DateOnly)
	switch {
	case c.Force != "" && c.Arm == "" && r.Decision.Arm == "":
		return "", "", fmt.Errorf("%w: the verdict names no arm; say which one with --arm", errUsage)
	case c.Force != "":
		arm = c.Arm
		if arm == "" {
			arm = r.Decision.Arm
		}
		return arm, fmt.Sprintf("%s: %s promoted by %s against the verdict %q, because: %s", today, arm, whoami(), r.Decision.Action, c.Force), nil
	case r.Decision.Action != analysis.Ship:
		return "", "", fmt.Errorf("not promoted. %s To promote all the same, say why: --force REASON", r.Decision.Summary)
	case c.Arm != "" && c.Arm != r.Decision.Arm:
		return "", "", fmt.Errorf("not promoted: the verdict is to ship %s, not %s", r.Decision.Arm, c.Arm)
	}
	return r.Decision.Arm, fmt.Sprintf("%s: %s promoted by %s, verdict: %s", today, r.Decision.Arm, whoami(), r.Decision.Summary), nil
}

func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "an unknown user"
}
