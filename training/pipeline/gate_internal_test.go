package pipeline

import (
	"strings"
	"testing"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/ranker"
)

func TestGate(t *testing.T) {
	active := &activeModel{model: &ranker.Model{Version: ranker.PriorVersion}}
	for _, c := range []struct {
		name            string
		mean, low, high float64
		force           string
		activated       bool
		says            string
	}{
		{"better", 0.03, 0.01, 0.05, "", true,
			"better than prior: +0.030 NDCG@10 [+0.010, +0.050] on the 400"},
		{"possibly better", 0.01, -0.01, 0.03, "", true, "not worse than prior"},
		{"equal within noise", -0.002, -0.02, 0.02, "", true, "not worse than prior"},
		{"significantly but slightly worse", -0.002, -0.003, -0.001, "", false, "worse than prior"},
		{"worse on average", -0.01, -0.03, 0.01, "", false, "worse than prior"},
		{"forced", -0.01, -0.03, 0.01, "a test", true, "forced (a test) although it is worse"},
		{"better, force unused", 0.03, 0.01, 0.05, "a test", true, "better than prior"},
	} {
		table := &evaluation.Table{
			K:     10,
			Lists: 400,
			Differences: []evaluation.Difference{
				{Scorer: newModelName, Against: "active: prior", Slice: evaluation.AllLists,
					NDCG: stats.Interval{Mean: c.mean, Low: c.low, High: c.high, N: 400}},
			},
		}
		g, err := decide(&measurement{table: table, activeName: "active: prior"}, active, c.force)
		if err != nil || g.Activated != c.activated ||
			g.Forced != strings.HasPrefix(c.says, "forced") ||
			!strings.HasPrefix(g.Reason, c.says) {
			t.Errorf("%s: %+v, %v", c.name, g, err)
		}
	}
}
