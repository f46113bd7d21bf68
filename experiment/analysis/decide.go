package analysis

import (
	"fmt"
	"math"
	"strings"
)

// Decision is the answer of a report, over all arms.
type Decision struct {
	Action   Action `json:"action"`
	Arm      string `json:"arm,omitempty"` // the arm to ship, with Ship
	DaysToGo int    `json:"days_to_go,omitempty"`
	Summary  string `json:"summary"` // one or two sentences
}

// Action is what to do with an arm or with the experiment.
type Action string

// The actions.
const (
	Ship        Action = "ship"
	Stop        Action = "stop"
	KeepRunning Action = "keep running"
	InvalidData Action = "broken" // the data cannot answer, whatever their metrics say
)

const (
	// maxFallbackShare is the share of an arm's impressions that control may serve. Above it, the
	// report would not be about the arm.
	maxFallbackShare = 0.05

	// minUsers is how many users an arm needs for a comparison, in a segment as well. The intervals
	// are asymptotic in users.
	minUsers = 30

	// maxRemainingDays stands for "longer than anyone waits".
	maxRemainingDays = 366
)

// decide judges every arm, and then the experiment.
//
// The data must be valid first: users are split as configured, and each is in one arm. Then an arm
// is stopped if it breaches a guardrail, if it is worse, or if it cannot reach the smallest effect
// worth having. It is shipped if it is better, every guardrail that can be measured holds, it ran
// for at least MinDays, and its effect does not wear off. Otherwise it keeps running.
//
// All of this uses sequential intervals, which hold however often one looks.
func decide(r *Report, opt *Options, m metric) {
	if problem := dataProblem(r); problem != "" {
		r.Decision = Decision{Action: InvalidData, Summary: "Broken: " + problem}
		for i := range r.Comparisons {
			r.Comparisons[i].Action, r.Comparisons[i].Reason = InvalidData, problem
		}
		return
	}
	for i := range r.Comparisons {
		decideArm(&r.Comparisons[i], r, opt, m)
	}
	r.Decision = decideExperiment(r, m)
}

// dataProblem says why the data allow no decision, "" if they do.
func dataProblem(r *Report) string {
	s := &r.SampleRatio
	crossed := s.crossedShare(r.Arms)
	switch {
	case len(r.Arms) < 2:
		return fmt.Sprintf("the log has users of arm %q only, so there is nothing to compare. "+
			"Check the weights, or wait for users of other arms.", r.Arms[0].Name)
	case s.armWithoutWeight != "":
		return fmt.Sprintf("arm %q is in the log and has no weight. "+
			"Check that this is the right experiments file.", s.armWithoutWeight)
	case float64(s.P) < srmAlpha:
		return s.mismatch()
	case crossed > maxCrossedShare:
		return fmt.Sprintf("%.1f %% of the users were seen in more than one arm. "+
			"Check whether weights or seed were changed, and whether the unit is what was "+
			"assigned.", 100*crossed)
	}
	for _, a := range r.Arms {
		if share := a.Fallbacks / math.Max(1, a.Impressions); share > maxFallbackShare {
			return fmt.Sprintf("control served %.0f %% of the impressions of %s in its place. "+
				"GET /experiments says what the arm lacks.", 100*share, a.Name)
		}
	}
	return ""
}

// decideArm decides about one arm.
func decideArm(c *Comparison, r *Report, opt *Options, m metric) {
	better := c.Lift // positive is better
	if m.lowerIsBetter {
		better = Range{
			Value: -c.Lift.Value,
			Low:   -c.Lift.High, High: -c.Lift.Low,
			SeqLow: -c.Lift.SeqHigh, SeqHigh: -c.Lift.SeqLow,
		}
	}
	breached, undecided := breachedAndUndecided(c.Guardrails)
	wins := float64(better.SeqLow) > 0
	switch {
	case tooFewUsers(r, c.Arm) || math.IsNaN(float64(better.SeqLow)):
		c.Action, c.DaysToGo = KeepRunning, max(1, opt.MinDays-r.Days)
		c.Reason = "there are too few users, or nothing happened that the metric counts"
	case len(breached) > 0:
		c.Action, c.Reason = Stop, "it breaches the guardrail on "+strings.Join(breached, " and ")
	case float64(better.SeqHigh) < 0:
		c.Action, c.Reason = Stop, "it is worse"
	case float64(better.SeqHigh) < opt.MinEffect:
		c.Action = Stop
		c.Reason = fmt.Sprintf("it cannot be better by the %g %% that would be worth having",
			100*opt.MinEffect)
	case wins && len(undecided) == 0 && r.Days >= opt.MinDays && !c.Novelty.WearsOff:
		c.Action, c.Reason = Ship, "it is better, and no guardrail is breached"
	default:
		c.Action = KeepRunning
		c.DaysToGo, c.Reason = remaining(c, r, opt, wins, undecided)
	}
}

// remaining estimates how many more days an arm needs, and says what for. It assumes that the true
// lift is the one seen so far, or the smallest one worth having if that is larger.
func remaining(
	c *Comparison, r *Report, opt *Options, wins bool, undecided []string,
) (days int, reason string) {
	var reasons []string
	if !wins {
		effect := max(math.Abs(c.raw.Value), opt.MinEffect)
		alpha := opt.Alpha / float64(len(r.Comparisons))
		needed := c.raw.UnitsToDecide(effect, alpha, opt.Power)
		days = remainingDays(needed, c.raw.N, r.Days)
		reasons = append(reasons, "its lift may be chance")
	}
	for _, g := range c.Guardrails {
		if g.Status == Undecided {
			days = max(days, g.days)
		}
	}
	if len(undecided) > 0 {
		reasons = append(reasons,
			"the guardrail on "+strings.Join(undecided, " and ")+" may be breached")
	}
	if r.Days < opt.MinDays {
		days = max(days, opt.MinDays-r.Days)
		reasons = append(reasons,
			fmt.Sprintf("it has not run for %d days, and weekdays differ", opt.MinDays))
	}
	if wins && c.Novelty.WearsOff {
		days = max(days, opt.MinDays)
		reasons = append(reasons, "its lift is wearing off")
	}
	return max(1, days), strings.Join(reasons, ", ")
}

// breachedAndUndecided names the guardrails with these statuses.
func breachedAndUndecided(guardrails []GuardrailResult) (breached, undecided []string) {
	for _, g := range guardrails {
		switch g.Status {
		case Breached:
			breached = append(breached, g.Name)
		case Undecided:
			undecided = append(undecided, g.Name)
		}
	}
	return breached, undecided
}

// tooFewUsers reports whether the arm or the control has fewer than minUsers.
func tooFewUsers(r *Report, arm string) bool {
	for _, a := range r.Arms {
		if (a.Name == arm || a.Name == r.Control) && a.Users < minUsers {
			return true
		}
	}
	return false
}

// remainingDays returns how many more days it takes to have needed units, at the rate of the days
// so far, in which have units came.
func remainingDays(needed, have float64, days int) int {
	more := float64(days) * (needed/have - 1)
	if math.IsNaN(more) || more > maxRemainingDays {
		return maxRemainingDays
	}
	return max(1, int(math.Ceil(more)))
}

func formatDays(days int) string {
	switch {
	case days >= maxRemainingDays:
		return "more than a year (so better stop, or look for a larger effect)"
	case days == 1:
		return "about a day"
	}
	return fmt.Sprintf("about %d days", days)
}

// decideExperiment ships the best arm that may be shipped. Without one it waits for the arms that
// keep running, and if there are none it stops.
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
	switch {
	case ship != nil:
		return Decision{
			Action:  Ship,
			Arm:     ship.Arm,
			Summary: fmt.Sprintf("Ship %s: %s, %s.", ship.Arm, r.liftSummary(ship), ship.Reason),
		}
	case run != nil:
		return Decision{
			Action:   KeepRunning,
			DaysToGo: run.DaysToGo,
			Summary: fmt.Sprintf("Keep running for %s: %s has %s, but %s.",
				formatDays(run.DaysToGo), run.Arm, r.liftSummary(run), run.Reason),
		}
	}
	return Decision{Action: Stop, Summary: "Stop: " + strings.Join(stopped, "; ") + "."}
}

// liftSummary prints a comparison's lift with its sequential interval.
func (r *Report) liftSummary(c *Comparison) string {
	if isUnknown(c.Lift.SeqLow) {
		return "no comparable " + r.Metric + " yet"
	}
	return fmt.Sprintf("%s %+.2f %% [%+.2f, %+.2f]", r.Metric, 100*float64(c.Lift.Value),
		100*float64(c.Lift.SeqLow), 100*float64(c.Lift.SeqHigh))
}

// better reports whether lift a is better than lift b.
func (m *metric) better(a, b float64) bool { return (a > b) != m.lowerIsBetter }

// GuardrailBreach is an arm that breaches a guardrail.
type GuardrailBreach struct{ Arm, Reason string }

// GuardrailBreaches returns the arms that an automatic stop may end. A guardrail must be worse than
// its margin by a sequential interval, in data that are valid, with enough users.
func (r *Report) GuardrailBreaches() (out []GuardrailBreach) {
	if r.Decision.Action == InvalidData {
		return nil
	}
	for _, c := range r.Comparisons {
		breached, _ := breachedAndUndecided(c.Guardrails)
		if len(breached) == 0 || tooFewUsers(r, c.Arm) {
			continue
		}
		reason := "it is worse on " + strings.Join(breached, ", ") + " than the guardrail's margin"
		out = append(out, GuardrailBreach{Arm: c.Arm, Reason: reason})
	}
	return out
}
