package verdict

import (
	"fmt"
	"strings"
)

// The slots of a user's counts. Actions that a reward names beside click and purchase come behind.
const (
	sLists     = iota // impressions
	sClicks           // clicks that name one of the lists
	sPurchases        // purchases
	sRevenue          // their values
	sNDCG             // sum over lists with a click
	sClicked          // lists with a click
	sDegraded         // lists whose answer was degraded
	sDiversity        // sum over lists whose items have tags
	sTagged           // lists whose items have tags
	fixedSlots
)

// slots finds the counts that a report needs.
type slots struct {
	byAction map[string]int
	n        int
}

func newSlots() *slots {
	return &slots{byAction: map[string]int{"click": sClicks, "purchase": sPurchases, "revenue": sRevenue}, n: fixedSlots}
}

func (s *slots) of(action string) int {
	i, ok := s.byAction[action]
	if !ok {
		i = s.n
		s.byAction[action] = i
		s.n++
	}
	return i
}

// metric turns a user's counts into a numerator and a denominator; its value in an arm is the ratio of
// their sums. Those with a nil of are no ratios over users: they come from groups of users.
type metric struct {
	name    string
	what    string // for people
	of      func(counts []float32) (num, den float64)
	lower   bool // less is better
	percent bool // shown as a share
}

func per(num, den int) func([]float32) (float64, float64) {
	return func(c []float32) (float64, float64) { return float64(c[num]), float64(c[den]) }
}

// parseMetric compiles --metric.
func parseMetric(spec string, s *slots) (metric, error) {
	if src, ok := strings.CutPrefix(spec, "reward:"); ok {
		e, err := parseExpression(src, s.of)
		if err != nil {
			return metric{}, err
		}
		return metric{name: spec, what: src + " per user", of: func(c []float32) (float64, float64) { return e.eval(c), 1 }}, nil
	}
	for _, m := range []metric{
		{name: "ctr", what: "clicks per list shown", of: per(sClicks, sLists)},
		{name: "conversion", what: "share of users who purchased", percent: true, of: func(c []float32) (float64, float64) {
			return min(1, float64(c[sPurchases])), 1
		}},
		{name: "ndcg", what: "NDCG@10 of lists with a click", of: per(sNDCG, sClicked)},
		degraded,
		latency,
	} {
		if m.name == spec {
			return m, nil
		}
	}
	return metric{}, fmt.Errorf("metric %q is unknown; it is ctr, conversion, ndcg, reward:EXPR, latency or degraded", spec)
}

var (
	degraded  = metric{name: "degraded", what: "share of lists with a degraded answer", of: per(sDegraded, sLists), lower: true, percent: true}
	diversity = metric{name: "diversity", what: "distinct tags / tags of a list's first ten", of: per(sDiversity, sTagged)}
	latency   = metric{name: "latency", what: "95th percentile of took_ms", lower: true}
	coverage  = metric{name: "coverage", what: "items in the first ten places, as if shown equally often"}
)

// GuardrailSpec is a metric that no arm may hurt by more than its margin.
type GuardrailSpec struct {
	Name   string
	Margin float64 // how much worse is still tolerated
	// OfControl: Margin is a share of the control's value; otherwise it is in the metric's own unit.
	OfControl bool
	metric    metric
}

// Guardrails are the guardrails with their default margins: the 95th percentile of latency may grow by
// a tenth, one list in a hundred more may be degraded, a tenth of the items and a twentieth of the
// tags' variety may be lost.
func Guardrails() []GuardrailSpec {
	return []GuardrailSpec{
		{"latency", 0.1, true, latency},
		{"degraded", 0.01, false, degraded},
		{"coverage", 0.1, true, coverage},
		{"diversity", 0.05, true, diversity},
	}
}

func guardrailNamed(name string) (GuardrailSpec, bool) {
	for _, g := range Guardrails() {
		if g.Name == name {
			return g, true
		}
	}
	return GuardrailSpec{}, false
}
