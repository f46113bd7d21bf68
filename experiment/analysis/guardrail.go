package analysis

import (
	"math"

	"relish/internal/stats"
)

// GuardrailResult is what an arm does to something that it must not hurt.
type GuardrailResult struct {
	Name    string `json:"name"`
	Control Float  `json:"control"`
	Arm     Float  `json:"arm"`
	// Change is the arm's value as a share of the control's, less 1, or the difference where the margin
	// is in the metric's own unit. Positive is better or worse as the metric has it.
	Change Range   `json:"change"`
	Margin float64 `json:"margin"`
	// RelativeMargin: Change and Margin are shares of the control's value; otherwise plain differences.
	RelativeMargin bool            `json:"of_control"`
	P              Float           `json:"p_non_inferior"` // of "worse by the margin or more", looked at once
	Status         GuardrailStatus `json:"status"`
	days           int             // with Undecided: about how many more
}

// GuardrailStatus is how an arm stands towards a guardrail. It follows from the sequential interval.
type GuardrailStatus string

// The statuses.
const (
	Holds      GuardrailStatus = "holds"     // not worse by the margin
	Breached   GuardrailStatus = "hurt"      // worse by more than the margin
	Undecided  GuardrailStatus = "undecided" // the interval holds the margin
	Unmeasured GuardrailStatus = "unknown"   // the log says nothing of it
)

// guardrails compares an arm with the control in all guardrails but the metric itself.
func (k *comparer) guardrails(control, arm int, r *Report) []GuardrailResult {
	var out []GuardrailResult
	for i, m := range k.guardrailMetrics {
		if m.name == k.metric.name {
			continue
		}
		a, okA := k.measureGuardrail(m, control)
		b, okB := k.measureGuardrail(m, arm)
		g := GuardrailResult{Name: m.name, Control: Float(a.Value), Arm: Float(b.Value), Margin: k.opt.Guardrails[i].Margin, RelativeMargin: m.marginIsRelative(), Status: Unmeasured}
		if !okA || !okB {
			nan := Float(math.NaN())
			g.Control, g.Arm, g.P, g.Change = nan, nan, nan, Range{nan, nan, nan, nan, nan}
		} else {
			k.judgeGuardrail(&g, a, b, m, r.Days)
		}
		out = append(out, g)
	}
	return out
}

// measureGuardrail is a guardrail's value in an arm; not ok where nothing is known.
func (k *comparer) measureGuardrail(m metric, arm int) (stats.Estimate, bool) {
	var moments stats.Moments
	for i := range k.users {
		if u := &k.users[i]; u.inWindow && !u.crossed && int(u.arm) == arm {
			if m.ratio == nil {
				moments.N++
				continue
			}
			var x [4]float64
			x[stats.Numerator], x[stats.Denominator] = m.ratio(k.countsOf(i, exposedPeriod))
			moments.Add(x)
		}
	}
	if m.ratio == nil {
		return k.groups.estimate(m, arm, moments.N)
	}
	return moments.Ratio(), moments.N >= 2 && moments.Mean[stats.Denominator] > 0
}

// judgeGuardrail decides whether the margin is kept.
func (k *comparer) judgeGuardrail(g *GuardrailResult, a, b stats.Estimate, m metric, days int) {
	change, rel := difference(a, b, m)
	if g.RelativeMargin {
		change = rel
	}
	g.Change = k.rangeOf(change)
	better := change // positive is better
	if m.lowerIsBetter {
		better.Value = -better.Value
	}
	g.P = Float(better.NonInferiorityPValue(g.Margin))
	low, high := better.SequentialInterval(k.alpha)
	switch {
	case a.Value == b.Value && change.SE == 0: // for example, no list of either was degraded
		g.Status = Holds
	case math.IsNaN(low):
		g.Status = Unmeasured
	case low > -g.Margin:
		g.Status = Holds
	case high < -g.Margin:
		g.Status = Breached
	default:
		g.Status = Undecided
		g.days = remainingDays(better.UnitsToDecide(better.Value+g.Margin, k.alpha, k.opt.Power), better.N, days)
	}
}
