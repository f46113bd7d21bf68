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
	sFallback         // lists in which control stood in for the arm
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
	name  string
	what  string // for people
	of    func(counts []float32) (num, den float64)
	lower bool // less is better
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
		return metric{name: spec, what: src + " per list shown", of: func(c []float32) (float64, float64) {
			return e.eval(c), float64(c[sLists])
		}}, nil
	}
	for _, m := range metrics {
		if m.name == spec {
			return m, nil
		}
	}
	return metric{}, fmt.Errorf("metric %q is unknown; it is ctr, conversion, revenue, ndcg, latency, degraded, coverage, diversity or reward:EXPR", spec)
}

var metrics = []metric{
	{name: "ctr", what: "clicks per list shown", of: per(sClicks, sLists)},
	{name: "conversion", what: "share of users who purchased", of: func(c []float32) (float64, float64) {
		return min(1, float64(c[sPurchases])), 1
	}},
	{name: "revenue", what: "value of purchases per user", of: func(c []float32) (float64, float64) { return float64(c[sRevenue]), 1 }},
	{name: "ndcg", what: "NDCG@10 of lists with a click", of: per(sNDCG, sClicked)},
	{name: "degraded", what: "share of lists with a degraded answer", of: per(sDegraded, sLists), lower: true},
	{name: "diversity", what: "distinct tags / tags of a list's first ten", of: per(sDiversity, sTagged)},
	{name: "latency", what: "95th percentile of took_ms", lower: true},
	{name: "coverage", what: "number of items in the first ten places, as if shown equally often"},
}

// Margin is a guardrail: a metric that no arm may worsen by more than this. It is a share of the control's
// value; for degraded, which should be 0, it is a share of the lists.
type Margin struct {
	Metric string  `json:"metric"`
	Margin float64 `json:"margin"` // above 0, below 1
}

// Margins are the guardrails of an experiment that names none: the 95th percentile of latency may grow by
// a tenth, one list in a hundred more may be degraded, a tenth of the items and a twentieth of the
// tags' variety may be lost.
func Margins() []Margin {
	return []Margin{{"latency", 0.1}, {"degraded", 0.01}, {"coverage", 0.1}, {"diversity", 0.05}}
}

// ofControl says whether a margin is a share of the control's value.
func (m *metric) ofControl() bool { return m.name != "degraded" }
