package verdict

import (
	"math"

	"relish/internal/stats"
)

// Guardrail is what an arm does to something that it must not hurt.
type Guardrail struct {
	Name    string `json:"name"`
	Control Num    `json:"control"`
	Arm     Num    `json:"arm"`
	// Change is the arm's value as a share of the control's, less 1, or the difference where the margin
	// is in the metric's own unit. Positive is better or worse as the metric has it.
	Change Range   `json:"change"`
	Margin float64 `json:"margin"`
	// OfControl: Change and Margin are shares of the control's value; otherwise plain differences.
	OfControl bool   `json:"of_control"`
	P         Num    `json:"p_non_inferior"` // of "worse by the margin or more", looked at once
	Status    Status `json:"status"`
	days      int    // with Undecided: about how many more
}

// Status is how an arm stands towards a guardrail. It follows from the sequential interval.
type Status string

// The statuses.
const (
	Holds     Status = "holds"     // not worse by the margin
	Hurt      Status = "hurt"      // worse by more than the margin
	Undecided Status = "undecided" // the interval holds the margin
	Unknown   Status = "unknown"   // the log says nothing of it
)

// guardrails compares an arm with the control in all guardrails but the metric itself.
func (k *comparer) guardrails(control, arm int, r *Report) []Guardrail {
	var out []Guardrail
	for i, m := range k.guards {
		if m.name == k.metric.name {
			continue
		}
		a, okA := k.measure(m, control)
		b, okB := k.measure(m, arm)
		g := Guardrail{Name: m.name, Control: Num(a.Value), Arm: Num(b.Value), Margin: k.opt.Margins[i].Margin, OfControl: m.ofControl(), Status: Unknown}
		if !okA || !okB {
			nan := Num(math.NaN())
			g.Control, g.Arm, g.P, g.Change = nan, nan, nan, Range{nan, nan, nan, nan, nan}
		} else {
			k.judge(&g, a, b, m, r.Days)
		}
		out = append(out, g)
	}
	return out
}

// measure is a guardrail's value in an arm; not ok where nothing is known.
func (k *comparer) measure(m metric, arm int) (stats.Estimate, bool) {
	var moments stats.Moments
	for i := range k.users {
		if u := &k.users[i]; u.inWindow && !u.crossed && int(u.arm) == arm {
			if m.of == nil {
				moments.N++
				continue
			}
			var x [4]float64
			x[stats.Num], x[stats.Den] = m.of(k.of(i, since))
			moments.Add(x)
		}
	}
	if m.of == nil {
		return k.groups.measure(m, arm, moments.N)
	}
	return moments.Ratio(), moments.N >= 2 && moments.Mean[stats.Den] > 0
}

// judge decides whether the margin is kept.
func (k *comparer) judge(g *Guardrail, a, b stats.Estimate, m metric, days int) {
	change, rel := difference(a, b, m)
	if g.OfControl {
		change = rel
	}
	g.Change = k.rangeOf(change)
	better := change // positive is better
	if m.lower {
		better.Value = -better.Value
	}
	g.P = Num(better.NonInferiority(g.Margin))
	low, high := better.Sequential(k.alpha)
	switch {
	case a.Value == b.Value && change.SE == 0: // for example, no list of either was degraded
		g.Status = Holds
	case math.IsNaN(low):
		g.Status = Unknown
	case low > -g.Margin:
		g.Status = Holds
	case high < -g.Margin:
		g.Status = Hurt
	default:
		g.Status = Undecided
		g.days = daysToGo(better.UnitsToDecide(better.Value+g.Margin, k.alpha, k.opt.Power), better.N, days)
	}
}
