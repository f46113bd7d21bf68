package pipeline

import (
	"math"
	"strings"
	"testing"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/ranker"
)

// gateCase is a measurement with the decision that it leads to. A test with force gives "a test" as
// the reason.
type gateCase struct {
	name            string
	mean, low, high float64 // against the active model
	lists           int
	popularity      stats.Interval // the difference from popularity
	force           string
	activated       bool
	says            string // the reason begins with it
}

const gateAdvice = "Wait for more clicks, or pass --force REASON"

func TestGate(t *testing.T) {
	active := &activeModel{model: &ranker.Model{Version: ranker.PriorVersion}}
	ahead := stats.Interval{Mean: 0.1, Low: 0.05, High: 0.15, N: 400}
	behind := stats.Interval{Mean: -0.02, Low: -0.05, High: 0.01, N: 400}
	nan := math.NaN()
	for _, c := range []gateCase{
		{"better", 0.03, 0.01, 0.05, 400, ahead, "", true,
			"better than prior: NDCG@10 +0.030 [+0.010, +0.050]"},
		{"possibly better", 0.01, -0.01, 0.03, 400, ahead, "", true, "not worse than prior"},
		{"equal within noise", -0.002, -0.02, 0.02, 400, ahead, "", true, "not worse than prior"},
		{"significantly but slightly worse", -0.002, -0.003, -0.001, 400, ahead, "", false,
			"worse than prior"},
		{"worse on average", -0.01, -0.03, 0.01, 400, ahead, "", false, "worse than prior"},
		{"forced", -0.01, -0.03, 0.01, 400, ahead, "a test", true, "forced (a test): worse than"},
		{"better, force unused", 0.03, 0.01, 0.05, 400, ahead, "a test", true, "better than prior"},
		{"one list", 0, nan, nan, 1, ahead, "", false,
			"too few lists to decide: 1 of at least 200"},
		{"nearly enough lists", 0.03, 0.01, 0.05, 199, ahead, "", false,
			"too few lists to decide: 199 of at least 200"},
		{"enough lists", 0.03, 0.01, 0.05, 200, ahead, "", true, "better than prior"},
		{"few lists, forced", 0.03, 0.01, 0.05, 199, ahead, "a test", true,
			"forced (a test): too few lists"},
		{"a plain baseline is better", 0.03, 0.01, 0.05, 400, behind, "", false,
			"worse than the plain baseline popularity: NDCG@10 -0.020 [-0.050, +0.010]; better"},
		{"both are better", -0.03, -0.05, -0.01, 400, behind, "", false, "worse than prior"},
	} {
		checkGate(t, &c, active)
	}
}

func checkGate(t *testing.T, c *gateCase, active *activeModel) {
	t.Helper()
	against := stats.Interval{Mean: c.mean, Low: c.low, High: c.high, N: c.lists}
	table := &evaluation.Table{
		K:     10,
		Lists: c.lists,
		Differences: []evaluation.Difference{
			{Scorer: newModelName, Against: "active: prior", Slice: evaluation.AllLists,
				NDCG: against},
			{Scorer: newModelName, Against: evaluation.Popularity, Slice: evaluation.AllLists,
				NDCG: c.popularity},
		},
	}
	m := &measurement{
		table: table, activeName: "active: prior", baselines: []string{evaluation.Popularity},
	}
	g, err := decide(m, active, c.force)
	if err != nil || g.Activated != c.activated ||
		g.Forced != strings.HasPrefix(c.says, "forced") || !strings.HasPrefix(g.Reason, c.says) {
		t.Errorf("%s: %+v, %v", c.name, g, err)
	}
	few := c.lists < minGateLists && c.force == ""
	if few != strings.HasSuffix(g.Reason, gateAdvice) {
		t.Errorf("%s: the reason advises to wait or not: %s", c.name, g.Reason)
	}
}
