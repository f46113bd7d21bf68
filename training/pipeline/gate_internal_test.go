package pipeline

import (
	"strings"
	"testing"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/ranker"
)

func TestGate(t *testing.T) {
	for _, c := range []struct {
		name            string
		mean, low, high float64
		force           string
		activated       bool
		says            string
	}{
		{"better", 0.03, 0.01, 0.05, "", true, "better than prior: +0.030 NDCG@10 [+0.010, +0.050] on the 400"},
		{"perhaps better", 0.01, -0.01, 0.03, "", true, "not worse than prior"},
		{"equal but for noise", -0.002, -0.02, 0.02, "", true, "not worse than prior"},
		{"a little worse for certain", -0.002, -0.003, -0.001, "", false, "worse than prior"},
		{"worse in the mean", -0.01, -0.03, 0.01, "", false, "worse than prior"},
		{"forced", -0.01, -0.03, 0.01, "a drill", true, "forced (a drill) although it is worse"},
		{"force is not needed", 0.03, 0.01, 0.05, "a drill", true, "better than prior"},
	} {
		r := &run{Options: Options{ForceReason: c.force}, running: &running{model: &ranker.Model{Version: ranker.PriorVersion}}}
		table := &evaluation.Table{K: 10, Lists: 400, Differences: []evaluation.Difference{{Scorer: thisBundle, Against: "running: prior", Slice: evaluation.AllLists,
			NDCG: stats.Interval{Mean: c.mean, Low: c.low, High: c.high, N: 400}}}}
		g, err := r.decide(&results{table: table, running: "running: prior"})
		if err != nil || g.Activated != c.activated || g.Forced != strings.HasPrefix(c.says, "forced") || !strings.HasPrefix(g.Reason, c.says) {
			t.Errorf("%s: %+v, %v", c.name, g, err)
		}
	}
}
