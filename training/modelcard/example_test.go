package modelcard_test

import (
	"fmt"
	"strings"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/training/modelcard"
)

func ExampleCheck() {
	value := func(mean float64) stats.Interval {
		return stats.Interval{Mean: mean, Low: mean - 0.03, High: mean + 0.03, N: 400}
	}
	score := func(scorer, role string, mean float64) modelcard.Score {
		return modelcard.Score{
			Scorer: scorer, Role: role, Metric: "NDCG@10", Slice: evaluation.AllLists,
			Value: value(mean),
		}
	}
	card := &modelcard.Data{Scores: []modelcard.Score{
		score("this bundle", modelcard.RoleThis, 0.349),
		score("live click rate", modelcard.RoleBaseline, 0.351),
	}}
	for _, w := range modelcard.Check(card) {
		for _, sentence := range strings.SplitAfter(w.Text, ". ") {
			fmt.Println(strings.TrimSpace(sentence))
		}
	}
	// Output:
	// NDCG@10 0.349 cannot be distinguished from live click rate (0.351) on 400 lists.
	// A model that gains nothing is not worth its cost: look for missing data or features.
}
