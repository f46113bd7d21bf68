package analysis

import (
	"fmt"
	"strings"
)

// The slots of a user's counts. Actions that a reward names beside click and purchase come behind.
const (
	slotLists        = iota // impressions
	slotClicks              // clicks that name one of the lists
	slotPurchases           // purchases
	slotRevenue             // their values
	slotNDCG                // sum over lists with a click
	slotClickedLists        // lists with a click
	slotDegraded            // lists whose answer was degraded
	slotDiversity           // sum over lists whose items have tags
	slotTaggedLists         // lists whose items have tags
	slotFallback            // lists in which control stood in for the arm
	fixedSlotCount
)

// slotTable finds the counts that a report needs.
type slotTable struct {
	byAction map[string]int
	n        int
}

func newSlotTable() *slotTable {
	return &slotTable{byAction: map[string]int{"click": slotClicks, "purchase": slotPurchases, "revenue": slotRevenue}, n: fixedSlotCount}
}

func (s *slotTable) slotOf(action string) int {
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
	name          string
	description   string // for people
	ratio         func(counts []float32) (num, den float64)
	lowerIsBetter bool // less is better
}

func slotRatio(num, den int) func([]float32) (float64, float64) {
	return func(c []float32) (float64, float64) { return float64(c[num]), float64(c[den]) }
}

// parseMetric compiles --metric.
func parseMetric(spec string, s *slotTable) (metric, error) {
	if src, ok := strings.CutPrefix(spec, "reward:"); ok {
		e, err := parseExpression(src, s.slotOf)
		if err != nil {
			return metric{}, err
		}
		return metric{name: spec, description: src + " per list shown", ratio: func(c []float32) (float64, float64) {
			return e.eval(c), float64(c[slotLists])
		}}, nil
	}
	for _, m := range knownMetrics {
		if m.name == spec {
			return m, nil
		}
	}
	return metric{}, fmt.Errorf("metric %q is unknown; it is ctr, conversion, revenue, ndcg, latency, degraded, coverage, diversity or reward:EXPR", spec)
}

var knownMetrics = []metric{
	{name: "ctr", description: "clicks per list shown", ratio: slotRatio(slotClicks, slotLists)},
	{name: "conversion", description: "share of users who purchased", ratio: func(c []float32) (float64, float64) {
		return min(1, float64(c[slotPurchases])), 1
	}},
	{name: "revenue", description: "value of purchases per user", ratio: func(c []float32) (float64, float64) { return float64(c[slotRevenue]), 1 }},
	{name: "ndcg", description: "NDCG@10 of lists with a click", ratio: slotRatio(slotNDCG, slotClickedLists)},
	{name: "degraded", description: "share of lists with a degraded answer", ratio: slotRatio(slotDegraded, slotLists), lowerIsBetter: true},
	{name: "diversity", description: "distinct tags / tags of a list's first ten", ratio: slotRatio(slotDiversity, slotTaggedLists)},
	{name: "latency", description: "95th percentile of took_ms", lowerIsBetter: true},
	{name: "coverage", description: "number of items in the first ten places, as if shown equally often"},
}

// Guardrail is a guardrail: a metric that no arm may worsen by more than this. It is a share of the control's
// value; for degraded, which should be 0, it is a share of the lists.
type Guardrail struct {
	Metric string  `json:"metric"`
	Margin float64 `json:"margin"` // above 0, below 1
}

// DefaultGuardrails are the guardrails of an experiment that names none: the 95th percentile of latency may grow by
// a tenth, one list in a hundred more may be degraded, a tenth of the items and a twentieth of the
// tags' variety may be lost.
func DefaultGuardrails() []Guardrail {
	return []Guardrail{{"latency", 0.1}, {"degraded", 0.01}, {"coverage", 0.1}, {"diversity", 0.05}}
}

// marginIsRelative says whether a margin is a share of the control's value.
func (m *metric) marginIsRelative() bool { return m.name != "degraded" }
