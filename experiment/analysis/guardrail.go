package analysis

import (
	"math"

	"relish/internal/stats"
)

// GuardrailResult is the effect of an arm on a guardrail metric.
type GuardrailResult struct {
	Name    string `json:"name"`
	Control Float  `json:"control"`
	Arm     Float  `json:"arm"`
	// Change is the arm's value relative to the control, less 1, or the plain difference, see
	// RelativeMargin. Its sign is the metric's own: a positive change of latency is worse.
	Change Range   `json:"change"`
	Margin float64 `json:"margin"`
	// RelativeMargin says that Change and Margin are shares of the control's value. Otherwise they
	// are in the metric's unit.
	RelativeMargin bool `json:"relative_margin"`
	// P tests "worse by the margin or more" at a single look; small means not worse.
	P      Float           `json:"p_non_inferior"`
	Status GuardrailStatus `json:"status"`
	days   int             // estimate of the days to go, with Undecided
}

// GuardrailStatus follows from the sequential interval of a guardrail's change.
type GuardrailStatus string

// The statuses.
const (
	Holds      GuardrailStatus = "holds"     // the interval is better than the margin
	Breached   GuardrailStatus = "breached"  // the interval is worse than the margin
	Undecided  GuardrailStatus = "undecided" // the interval contains the margin
	Unmeasured GuardrailStatus = "unknown"   // the log has no data on it
)

// guardrails compares an arm with the control on all guardrails, except one on the metric itself.
func (k *comparer) guardrails(control, arm int, r *Report) []GuardrailResult {
	var out []GuardrailResult
	for i, m := range k.guardrailMetrics {
		if m.name == k.metric.name {
			continue
		}
		a, okA := k.measureGuardrail(m, control)
		b, okB := k.measureGuardrail(m, arm)
		g := GuardrailResult{
			Name:           m.name,
			Control:        Float(a.Value),
			Arm:            Float(b.Value),
			Margin:         k.opt.Guardrails[i].Margin,
			RelativeMargin: m.marginIsRelative(),
			Status:         Unmeasured,
		}
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

// measureGuardrail returns a guardrail's value in an arm. It is false if the log has no data on it.
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

// judgeGuardrail fills in the change from the control a to the arm b, and the status.
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
	case a.Value == b.Value && change.SE == 0: // such as no degraded answer in either
		g.Status = Holds
	case math.IsNaN(low):
		g.Status = Unmeasured
	case low > -g.Margin:
		g.Status = Holds
	case high < -g.Margin:
		g.Status = Breached
	default:
		g.Status = Undecided
		needed := better.UnitsToDecide(better.Value+g.Margin, k.alpha, k.opt.Power)
		g.days = remainingDays(needed, better.N, days)
	}
}
