package training_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"relish/ranker"
	"relish/training"
)

// promotedLog has lists of ten items with the fields quality and promoted. Only quality makes users
// click what they look at. The shop shows promoted items first, with some exceptions, and users
// look less at each further position if biased.
func promotedLog(lists int, biased bool) []ranker.Event {
	rng := rand.New(rand.NewPCG(5, 6))
	number := func(x float64) ranker.FieldValue {
		return ranker.FieldValue{Kind: ranker.Number, Num: x}
	}
	quality, promoted := make([]float64, 60), make([]float64, 60)
	var out []ranker.Event
	for i := range quality {
		quality[i], promoted[i] = rng.Float64(), float64(i%2)
		out = append(out, ranker.Event{
			Kind: ranker.EventItem, ID: fmt.Sprint("item-", i), ItemID: fmt.Sprint("i", i),
			Fields: map[string]ranker.FieldValue{
				"quality": number(quality[i]), "promoted": number(promoted[i]),
			},
		})
	}
	for n := range lists {
		list, user := fmt.Sprint("l", n), fmt.Sprint("u", n%40)
		shown := rng.Perm(len(quality))[:10]
		for k := range 9 { // a promoted item moves up, four times out of five
			for j := 9; j > k; j-- {
				if promoted[shown[j]] > promoted[shown[j-1]] && rng.Float64() < 0.8 {
					shown[j], shown[j-1] = shown[j-1], shown[j]
				}
			}
		}
		impression := &ranker.Impression{}
		var clicks []ranker.Event
		for position, i := range shown {
			id, looks := fmt.Sprint("i", i), 1.0
			if biased {
				looks = 1 / float64(1+position)
			}
			impression.Items = append(impression.Items, id)
			if rng.Float64() < looks*(0.1+0.5*quality[i]) {
				clicks = append(clicks, ranker.Event{
					Kind: ranker.EventInteraction, ID: list + id, UserID: user, ItemID: id,
					Action: "click", ImpressionID: list,
				})
			}
		}
		out = append(out, ranker.Event{
			Kind: ranker.EventImpression, ID: list, UserID: user, Impression: impression,
		})
		out = append(out, clicks...)
	}
	for i := range out {
		out[i].Time = int64(i+1) * 1000
	}
	return out
}

// trainPromoted trains on promotedLog by the fields of the items alone.
func trainPromoted(t *testing.T, biased bool, treatment string) *training.Trained {
	t.Helper()
	in := inputs(t, logOf(promotedLog(1500, biased)))
	in.Config.PositionBias, in.Config.Signals = treatment, []string{}
	in.Config.Features = []ranker.Feature{
		{Name: "quality", Kind: ranker.KindNumber, Field: "quality"},
		{Name: "promoted", Kind: ranker.KindNumber, Field: "promoted"},
	}
	return train(t, in)
}

// promotionWorth returns how much the trees add for a promotion, in units of what they add for the
// whole range of quality.
func promotionWorth(t *testing.T, trained *training.Trained) float64 {
	t.Helper()
	m := &ranker.Matrix{N: 4, Columns: trained.Model.Schema.Columns(), Data: []float32{
		0.5, 1, 0.5, 0, 0.9, 0, 0.1, 0, // quality, promoted
	}}
	score := make([]float64, 4)
	if err := trained.Model.Scorer.Score(m, score); err != nil {
		t.Fatal(err)
	}
	return (score[0] - score[1]) / (score[2] - score[3])
}

// Untreated, the trees learn that promoted items are liked, because they stand first. With position
// bias treated, as by default, they learn that only quality counts.
func TestPositionBiasIsTreated(t *testing.T) {
	treated := promotionWorth(t, trainPromoted(t, true, training.DefaultConfig().PositionBias))
	untreated := promotionWorth(t, trainPromoted(t, true, training.PositionBiasOff))
	t.Logf("a promotion is worth %.2f of quality treated, %.2f untreated", treated, untreated)
	if untreated < 0.3 || treated > untreated/3 || treated < -0.1 {
		t.Errorf("a promotion is worth %.2f of quality treated, %.2f untreated; 0 is right",
			treated, untreated)
	}
}

// Where positions explain nothing, the treatment changes nothing.
func TestNoPositionBiasToTreat(t *testing.T) {
	treated := trainPromoted(t, false, training.PositionBiasAuto)
	untreated := trainPromoted(t, false, training.PositionBiasOff)
	if string(treated.Trees.Model) != string(untreated.Trees.Model) {
		t.Error("the trees differ")
	}
}
