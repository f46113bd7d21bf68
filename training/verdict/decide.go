package verdict

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
	if why := broken(r); why != "" {
		r.Verdict = Verdict{Decision: Broken, Words: "Broken: " + why}
		for i := range r.Comparisons {
			r.Comparisons[i].Decision, r.Comparisons[i].Why = Broken, why
		}
		return
	}
	for i := range r.Comparisons {
		judgeArm(&r.Comparisons[i], r, opt, m)
	}
	r.Verdict = overall(r, m)
}

// broken says why the data cannot answer, "" if they can.
func broken(r *Report) string {
	s := &r.Split
	switch {
	case len(r.Arms) < 2:
		return fmt.Sprintf("only arm %q is in the log; nothing can be compared.", r.Arms[0].Name)
	case s.unknown != "":
		return fmt.Sprintf("arm %q is in the log and has no weight; is this the right configuration?", s.unknown)
	case float64(s.P) < mismatch:
		where := "No slice of the users stands out: look at the assignment and at what loses impressions."
		if len(s.Suspects) > 0 {
			where = fmt.Sprintf("The first suspect: %s.", s.Suspects[0].Slice)
		}
		assumed := ""
		if s.Assumed {
			assumed = " (equal shares were assumed; give the weights if they are others)"
		}
		return fmt.Sprintf("users are not split as configured%s, p = %.2g. %s", assumed, float64(s.P), where)
	case s.crossedShare(r.Arms) > maxCrossed:
		return fmt.Sprintf("%.1f %% of the users were seen in more than one arm. Were weights or seed changed, "+
			"or is the unit not the one that is assigned?", 100*s.crossedShare(r.Arms))
	}
	for _, a := range r.Arms {
		if share := a.Fallbacks / math.Max(1, a.Impressions); share > maxFallback {
			return fmt.Sprintf("control stood in for %s in %.0f %% of its lists; GET /experiments says what the arm lacks.", a.Name, 100*share)
		}
	}
	return ""
}

// maxFallback is the share of an arm's lists above which it was not the arm that was measured.
const maxFallback = 0.05

// judgeArm decides about one arm.
func judgeArm(c *Comparison, r *Report, opt *Options, m metric) {
	better := c.Lift // positive is better
	if m.lower {
		better = Range{-c.Lift.Value, -c.Lift.High, -c.Lift.Low, -c.Lift.SeqHigh, -c.Lift.SeqLow}
	}
	hurt, open := guards(c.Guardrails)
	wins := float64(better.SeqLow) > 0
	few := fewUsers(r, c.Arm)
	switch {
	case few || math.IsNaN(float64(better.SeqLow)):
		c.Decision, c.Days, c.Why = KeepRunning, max(1, opt.MinDays-r.Days), "there are too few users, or nothing happened that the metric counts"
	case len(hurt) > 0:
		c.Decision, c.Why = Stop, "it hurts "+strings.Join(hurt, " and ")
	case float64(better.SeqHigh) < 0:
		c.Decision, c.Why = Stop, "it is worse"
	case float64(better.SeqHigh) < opt.MinEffect:
		c.Decision, c.Why = Stop, fmt.Sprintf("it cannot be better by the %g %% that would be worth having", 100*opt.MinEffect)
	case wins && len(open) == 0 && r.Days >= opt.MinDays && !c.Novelty.WearsOff:
		c.Decision, c.Why = Ship, "it is better, and no guardrail is hurt"
	default:
		c.Decision = KeepRunning
		c.Days, c.Why = waiting(c, r, opt, wins, open)
	}
}

// waiting says for how many more days, and what for. The truth is taken to be the lift that is seen, or
// the smallest one worth having.
func waiting(c *Comparison, r *Report, opt *Options, wins bool, open []string) (days int, why string) {
	var reasons []string
	if !wins {
		needed := c.raw.UnitsToDecide(max(math.Abs(c.raw.Value), opt.MinEffect), opt.Alpha/float64(len(r.Comparisons)), opt.Power)
		days = daysToGo(needed, c.raw.N, r.Days)
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

// guards sorts out the guardrails that are hurt, and those that are not decided.
func guards(all []Guardrail) (hurt, open []string) {
	for _, g := range all {
		switch g.Status {
		case Hurt:
			hurt = append(hurt, g.Name)
		case Undecided:
			open = append(open, g.Name)
		}
	}
	return hurt, open
}

// fewUsers: intervals are asymptotic in users.
func fewUsers(r *Report, arm string) bool {
	for _, a := range r.Arms {
		if (a.Name == arm || a.Name == r.Control) && a.Users < leastUsers {
			return true
		}
	}
	return false
}

// daysToGo is how many more days it takes to have needed units, if they go on coming as they did.
func daysToGo(needed, have float64, days int) int {
	more := float64(days) * (needed/have - 1)
	if math.IsNaN(more) || more > maxDays {
		return maxDays
	}
	return max(1, int(math.Ceil(more)))
}

// maxDays stands for "longer than anyone waits".
const maxDays = 366

func about(days int) string {
	switch {
	case days >= maxDays:
		return "more than a year (so better stop, or look for a larger effect)"
	case days == 1:
		return "about a day"
	}
	return fmt.Sprintf("about %d days", days)
}

// overall is the answer: the best of the arms to ship, else wait for those that run, else stop.
func overall(r *Report, m metric) Verdict {
	var ship, run *Comparison
	var stopped []string
	for i := range r.Comparisons {
		c := &r.Comparisons[i]
		switch c.Decision {
		case Ship:
			if ship == nil || m.better(float64(c.Lift.Value), float64(ship.Lift.Value)) {
				ship = c
			}
		case KeepRunning:
			if run == nil || c.Days > run.Days {
				run = c
			}
		default:
			stopped = append(stopped, fmt.Sprintf("%s: %s", c.Arm, c.Why))
		}
	}
	told := func(c *Comparison) string {
		if unknown(c.Lift.SeqLow) {
			return r.Metric + " not to be compared yet"
		}
		return fmt.Sprintf("%s %+.2f %% [%+.2f, %+.2f]", r.Metric, 100*float64(c.Lift.Value), 100*float64(c.Lift.SeqLow), 100*float64(c.Lift.SeqHigh))
	}
	switch {
	case ship != nil:
		return Verdict{Decision: Ship, Arm: ship.Arm, Words: fmt.Sprintf("Ship %s: %s, %s.", ship.Arm, told(ship), ship.Why)}
	case run != nil:
		return Verdict{Decision: KeepRunning, Days: run.Days, Words: fmt.Sprintf("Keep running for %s: %s has %s, but %s.", about(run.Days), run.Arm, told(run), run.Why)}
	}
	return Verdict{Decision: Stop, Words: "Stop: " + strings.Join(stopped, "; ") + "."}
}

// better says whether lift a is better than b.
func (m *metric) better(a, b float64) bool { return (a > b) != m.lower }

// Harm is an arm that hurts, and by what.
type Harm struct{ Arm, Why string }

// Harmful names the arms that an automatic stop may end: a guardrail is hurt beyond its margin, by an
// interval that holds at any look, given the users that it takes. Nothing is harmful in data that are broken.
func (r *Report) Harmful() (out []Harm) {
	if r.Verdict.Decision == Broken {
		return nil
	}
	for _, c := range r.Comparisons {
		if hurt, _ := guards(c.Guardrails); len(hurt) > 0 && !fewUsers(r, c.Arm) {
			out = append(out, Harm{c.Arm, "guardrail " + strings.Join(hurt, ", ") + " is hurt beyond its margin"})
		}
	}
	return out
}
