package evaluation_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/ranker"
	"relish/training/replay"
)

// examination is the true examination probability of biasedLog.
func examination(position int) float64 { return 1 / float64(1+position) }

// biasedLog has lists of ten items. Item i is clicked with probability (10-i)/10 if it is examined.
// The order shown is random if shuffled, else always worst first, ranked by a model.
func biasedLog(lists int, shuffled bool) []ranker.Event {
	rng := rand.New(rand.NewPCG(1, 2))
	var out []ranker.Event
	for n := range lists {
		order := []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}
		if shuffled {
			order = rng.Perm(10)
		}
		list, user := fmt.Sprintf("l%d", n), fmt.Sprintf("u%d", n)
		e := shown(list, user)
		if !shuffled {
			e.Impression.Served, e.Impression.Model = true, "m1"
		}
		var clicks []ranker.Event
		for position, item := range order {
			id := fmt.Sprintf("i%d", item)
			e.Impression.Items = append(e.Impression.Items, id)
			if rng.Float64() < examination(position)*float64(10-item)/10 {
				clicks = append(clicks, did(list+id, user, "click", id, list))
			}
		}
		out = append(append(out, e), clicks...)
	}
	return out
}

// trueOrder scores the items of biasedLog by their true click probability.
type trueOrder struct{}

func (trueOrder) Name() string { return "truth" }

func (trueOrder) Score(_ context.Context, x *replay.Example) ([]float64, error) {
	out := make([]float64, len(x.Request.Candidates))
	for i, c := range x.Request.Candidates {
		fmt.Sscanf(c.ID, "i%f", &out[i])
		out[i] = -out[i]
	}
	return out, nil
}

func runBiased(t *testing.T, events []ranker.Event) *evaluation.Table {
	t.Helper()
	opt := evaluation.Options{TestShare: 1, Prequential: true}
	state := features.New(features.DefaultConfig())
	table, err := evaluation.Run(t.Context(), source(events...), state, opt, trueOrder{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// In a random order, the plain metrics prefer the order shown to chance, since users click what
// stands first. The position-corrected ones do not, and they prefer the true order to both.
func TestPositionCorrectedMetrics(t *testing.T) {
	table := runBiased(t, biasedLog(4000, true))
	bias := table.PositionBias
	if !bias.Known || !bias.Explains || bias.Lists != 4000 || bias.Explored != 0 {
		t.Fatalf("position bias %+v", bias)
	}
	for position, got := range bias.Examination[:10] {
		if want := examination(position); math.Abs(got-want) > 0.25*want {
			t.Errorf("position %d is examined with %.3f, want %.3f", position, got, want)
		}
	}
	row := func(scorer string) evaluation.Row {
		r, ok := table.Row(scorer, evaluation.AllLists)
		if !ok || r.CorrectedNDCG == nil || r.CorrectedMRR == nil {
			t.Fatalf("%s: %+v", scorer, r)
		}
		return r
	}
	logged, chance, truth := row(evaluation.LoggedOrder), row("random"), row("truth")
	if logged.NDCG.Low < chance.NDCG.High+0.1 || logged.NDCG.Low < truth.NDCG.High {
		t.Errorf("plain NDCG: logged order %v, random %v, true order %v",
			logged.NDCG, chance.NDCG, truth.NDCG)
	}
	if math.Abs(logged.CorrectedNDCG.Mean-chance.CorrectedNDCG.Mean) > 0.03 ||
		truth.CorrectedNDCG.Low < logged.CorrectedNDCG.High {
		t.Errorf("corrected NDCG: logged order %v, random %v, true order %v",
			logged.CorrectedNDCG, chance.CorrectedNDCG, truth.CorrectedNDCG)
	}
	if table.Baseline == evaluation.LoggedOrder {
		t.Error("the logged order is the best baseline by plain metrics")
	}
	if _, ok := table.Difference("truth", evaluation.LoggedOrder, evaluation.AllLists); ok {
		t.Error("a plain comparison with the logged order")
	}
	d, ok := table.CorrectedDifference("truth", evaluation.LoggedOrder, evaluation.AllLists)
	if !ok || d.NDCG.Low <= 0 || d.MRR.Low <= 0 {
		t.Errorf("over the logged order: %+v", d)
	}
}

// A log whose lists were ranked without exploration does not tell position from relevance.
func TestUnexploredLogHasNoCorrectedMetrics(t *testing.T) {
	table := runBiased(t, biasedLog(500, false))
	if b := table.PositionBias; b.Known || b.Explains || b.Lists != 0 {
		t.Errorf("position bias %+v", b)
	}
	for _, r := range table.Rows {
		if r.CorrectedNDCG != nil || r.CorrectedMRR != nil {
			t.Errorf("corrected metrics: %+v", r)
		}
	}
	for _, d := range table.Differences {
		if d.Against == evaluation.LoggedOrder || d.Corrected {
			t.Errorf("compared with the logged order: %+v", d)
		}
	}
}
