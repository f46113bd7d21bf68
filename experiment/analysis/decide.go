package analysis

import (
	"fmt"
	"math"
	"strings"
)

// decide judges every arm, and then the experiment.
//
// The data must be sound before they are listened to: users split as configured, each in one arm.
// After that an arm is stopped when a guardrail is hurt, when it is worse, or when it cannot be as
// good as the smallest effect worth having. It is shipped when it is better, every guardrail that can
// be measured holds, it ran for a whole week, and its effect does not wear off. All this is by
// sequential intervals, so that looking every day is no cheating. In between, it keeps running.
func decide(r *Report, opt *Options, m metric) {
	if why := dataProblem(r); why != "" {
		r.Decision = Decision{Action: InvalidData, Summary: "Broken: " + why}
		for i := range r.Comparisons {
			r.Comparisons[i].Action, r.Comparisons[i].Reason = InvalidData, why
		}
		return
	}
	for i := range r.Comparisons {
		decideArm(&r.Comparisons[i], r, opt, m)
	}
	r.Decision = decideExperiment(r, m)
}

// dataProblem says why the data cannot answer, "" if they can.
func dataProblem(r *Report) string {
	s := &r.SampleRatio
	switch {
	case len(r.Arms) < 2:
		return fmt.Sprintf("only arm %q is in the log; nothing can be compared.", r.Arms[0].Name)
	case s.armWithoutWeight != "":
		return fmt.Sprintf("arm %q is in the log and has no weight; is this the right configuration?", s.armWithoutWeight)
	case float64(s.P) < srmAlpha:
		where := "No slice of the users stands out: look at the assignment and at what loses impressions."
		if len(s.Causes) > 0 {
			where = fmt.Sprintf("The first suspect: %s.", s.Causes[0].Slice)
		}
		assumed := ""
		if s.Assumed {
			assumed = " (equal shares were assumed; give the weights if they are others)"
		}
		return fmt.Sprintf("users are not split as configured%s, p = %.2g. %s", assumed, float64(s.P), where)
	case s.crossedShare(r.Arms) > maxCrossedShare:
		return fmt.Sprintf("%.1f %% of the users were seen in more than one arm. Were weights or seed changed, "+
			"or is the unit not the one that is assigned?", 100*s.crossedShare(r.Arms))
	}
	for _, a := range r.Arms {
		if share := a.Fallbacks / math.Max(1, a.Impressions); share > maxFallbackShare {
			return fmt.Sprintf("control stood in for %s in %.0f %% of its lists; GET /experiments says what the arm lacks.", a.Name, 100*share)
		}
	}
	return ""
}

// maxFallbackShare is the share of an arm's lists above which it was not the arm that was measured.
const maxFallbackShare = 0.05

// decideArm decides about one arm.
func decideArm(c *Comparison, r *Report, opt *Options, m metric) {
	better := c.Lift // positive is better
	if m.lowerIsBetter {
		better = Range{-c.Lift.Value, -c.Lift.High, -c.Lift.Low, -c.Lift.SeqHigh, -c.Lift.SeqLow}
	}
	hurt, open := breachedAndUndecided(c.Guardrails)
	wins := float64(better.SeqLow) > 0
	few := tooFewUsers(r, c.Arm)
	switch {
	case few || math.IsNaN(float64(better.SeqLow)):
		c.Action, c.DaysToGo, c.Reason = KeepRunning, max(1, opt.MinDays-r.Days), "there are too few users, or nothing happened that the metric counts"
	case len(hurt) > 0:
		c.Action, c.Reason = Stop, "it hurts "+strings.Join(hurt, " and ")
	case float64(better.SeqHigh) < 0:
		c.Action, c.Reason = Stop, "it is worse"
	case float64(better.SeqHigh) < opt.MinEffect:
		c.Action, c.Reason = Stop, fmt.Sprintf("it cannot be better by the %g %% that would be worth having", 100*opt.MinEffect)
	case wins && len(open) == 0 && r.Days >= opt.MinDays && !c.Novelty.WearsOff:
		c.Action, c.Reason = Ship, "it is better, and no guardrail is hurt"
	default:
		c.Action = KeepRunning
		c.DaysToGo, c.Reason = remaining(c, r, opt, wins, open)
	}
}

// remaining says for how many more days, and what for. The truth is taken to be the lift that is seen, or
// the smallest one worth having.
func remaining(c *Comparison, r *Report, opt *Options, wins bool, open []string) (days int, why string) {
	var reasons []string
	if !wins {
		needed := c.raw.UnitsToDecide(max(math.Abs(c.raw.Value), opt.MinEffect), opt.Alpha/float64(len(r.Comparisons)), opt.Power)
		days = remainingDays(needed, c.raw.N, r.Days)
		reasons = append(reasons, "its lift may be chance")
	}
	for _, g := range c.Guardrails {
		if g.Status == Undecided {
			days = max(days, g.days)
		}
	}
	if len(open) > 0 {
		reasons = append(reasons, strings.Join(open, " and ")+" may be hurt")
	}
	if r.Days < opt.MinDays {
		days = max(days, opt.MinDays-r.Days)
		reasons = append(reasons, "a whole week tells more than its days")
	}
	if wins && c.Novelty.WearsOff {
		days = max(days, opt.MinDays)
		reasons = append(reasons, "its lift is wearing off")
	}
	return max(1, days), strings.Join(reasons, ", ")
}

// breachedAndUndecided sorts out the guardrails that are hurt, and those that are not decided.
func breachedAndUndecided(all []GuardrailResult) (hurt, open []string) {
	for _, g := range all {
		switch g.Status {
		case Breached:
			hurt = append(hurt, g.Name)
		case Undecided:
			open = append(open, g.Name)
		}
	}
	return hurt, open
}

// tooFewUsers: intervals are asymptotic in users.
func tooFewUsers(r *Report, arm string) bool {
	for _, a := range r.Arms {
		if (a.Name == arm || a.Name == r.Control) && a.Users < minUsers {
			return true
		}
	}
	return false
}

// remainingDays is how many more days it takes to have needed units, if they go on coming as they did.
func remainingDays(needed, have float64, days int) int {
	more := float64(days) * (needed/have - 1)
	if math.IsNaN(more) || more > maxRemainingDays {
		return maxRemainingDays
	}
	return max(1, int(math.Ceil(more)))
}

// maxRemainingDays stands for "longer than anyone waits".
const maxRemainingDays = 366

func formatDays(days int) string {
	switch {
	case days >= maxRemainingDays:
		return "more than a year (so better stop, or look for a larger effect)"
	case days == 1:
		return "about a day"
	}
	return fmt.Sprintf("about %d days", days)
}

// decideExperiment is the answer: the best of the arms to ship, else wait for those that run, else stop.
func decideExperiment(r *Report, m metric) Decision {
	var ship, run *Comparison
	var stopped []string
	for i := range r.Comparisons {
		c := &r.Comparisons[i]
		switch c.Action {
		case Ship:
			if ship == nil || m.better(float64(c.Lift.Value), float64(ship.Lift.Value)) {
				ship = c
			}
		case KeepRunning:
			if run == nil || c.DaysToGo > run.DaysToGo {
				run = c
			}
		default:
			stopped = append(stopped, fmt.Sprintf("%s: %s", c.Arm, c.Reason))
		}
	}
	told := func(c *Comparison) string {
		if isUnknown(c.Lift.SeqLow) {
			return r.Metric + " not to be compared yet"
		}
		return fmt.Sprintf("%s %+.2f %% [%+.2f, %+.2f]", r.Metric, 100*float64(c.Lift.Value), 100*float64(c.Lift.SeqLow), 100*float64(c.Lift.SeqHigh))
	}
	switch {
	case ship != nil:
		return Decision{Action: Ship, Arm: ship.Arm, Summary: fmt.Sprintf("Ship %s: %s, %s.", ship.Arm, told(ship), ship.Reason)}
	case run != nil:
		return Decision{Action: KeepRunning, DaysToGo: run.DaysToGo, Summary: fmt.Sprintf("Keep running for %s: %s has %s, but %s.", formatDays(run.DaysToGo), run.Arm, told(run), run.Reason)}
	}
	return Decision{Action: Stop, Summary: "Stop: " + strings.Join(stopped, "; ") + "."}
}

// better says whether lift a is better than b.
func (m *metric) better(a, b float64) bool { return (a > b) != m.lowerIsBetter }

// GuardrailBreach is an arm that hurts, and by what.
type GuardrailBreach struct{ Arm, Reason string }

// GuardrailBreaches names the arms that an automatic stop may end: a guardrail is hurt beyond its margin, by an
// interval that holds at any look, given the users that it takes. Nothing is harmful in data that are broken.
func (r *Report) GuardrailBreaches() (out []GuardrailBreach) {
	if r.Decision.Action == InvalidData {
		return nil
	}
	for _, c := range r.Comparisons {
		if hurt, _ := breachedAndUndecided(c.Guardrails); len(hurt) > 0 && !tooFewUsers(r, c.Arm) {
			out = append(out, GuardrailBreach{c.Arm, "guardrail " + strings.Join(hurt, ", ") + " is hurt beyond its margin"})
		}
	}
	return out
}
