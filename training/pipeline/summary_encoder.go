package pipeline

import (
	"fmt"
	"math"
	"time"

	"relish/training/modelcard"
)

// costly is how much NDCG the 8-bit file may lose to the one with 32-bit weights before the report warns.
const costly = 0.01

// note says in a sentence what became of the tuning.
func (t *tuned) note() string {
	switch {
	case t.texts != nil:
		return "The tuned encoder takes the place of the one that it came from: all that is learned from texts was learned from its vectors."
	case t.result != nil:
		return "The tuned encoder is not used: " + t.why + "."
	}
	return "It was not tuned: " + t.why + "."
}

// tellEncoder says what became of the tuning of the text encoder.
func (r *run) tellEncoder(d *modelcard.Data) {
	t := modelcard.Table{Title: "Text encoder", Note: r.tuned.note(), Head: []string{"", ""}}
	if r.tuned.failed {
		d.Warnings = append(d.Warnings, modelcard.Warning{Text: "The text encoder could not be tuned: " + r.tuned.why + "."})
	}
	res := r.tuned.result
	if res == nil {
		if r.vectors != nil {
			d.Tables = append(d.Tables, t)
		}
		return
	}
	g, q := &res.Validation, &res.Quantisation
	t.Head = []string{"what", "figure"}
	t.Rows = [][]string{
		{"objective", r.Config.Encoder.Objective},
		{"learned from", fmt.Sprintf("%d steps from one text to the next, %d texts", res.Pairs, res.Texts)},
		{"training steps, time", fmt.Sprintf("%d, %s", res.KeptStep, res.Duration.Round(time.Second))},
		{"held-out texts: NDCG@10 of the text that came next, by text alone, before", g.Base.String()},
		{"the same, after", g.FineTuned.String()},
		{"difference", g.Difference.String()},
		{"8-bit against 32-bit: difference of that NDCG", q.Difference.String()},
		{"8-bit against 32-bit: cosine of a text's vectors, mean and least", fmt.Sprintf("%.4f, %.4f", q.MeanCosine, q.MinCosine)},
		{"8-bit and 32-bit: size", fmt.Sprintf("%.1f MB, %.1f MB", float64(q.Bytes)/1e6, float64(q.BytesFP32)/1e6)},
		{"8-bit and 32-bit: texts encoded in a second on one thread", fmt.Sprintf("%.0f, %.0f", q.TextsPerSecond, q.TextsPerSecondFP32)},
	}
	d.Tables = append(d.Tables, t)
	if q.Difference.High < -costly {
		d.Warnings = append(d.Warnings, modelcard.Warning{Text: fmt.Sprintf("The tuned encoder loses %.3f NDCG@10 as 8-bit integers: serve it with 32-bit weights, on a GPU, or leave it out by --tune-encoder=false.", -q.Difference.Mean)})
	}
	ndcg, loss := modelcard.Series{Name: "held-out texts"}, modelcard.Series{Name: "training loss"}
	for _, p := range res.Evaluations {
		ndcg.X, ndcg.Y = append(ndcg.X, float64(p.Step)), append(ndcg.Y, p.NDCG)
		if !math.IsNaN(p.Loss) {
			loss.X, loss.Y = append(loss.X, float64(p.Step)), append(loss.Y, p.Loss)
		}
	}
	kept := float64(res.KeptStep)
	d.Curves = append(d.Curves, modelcard.Curve{Name: "Text encoder", X: "step", Y: "NDCG@10", Series: []modelcard.Series{ndcg}, Kept: &kept})
	if len(loss.X) > 0 {
		d.Curves = append(d.Curves, modelcard.Curve{Name: "Text encoder: loss", X: "step", Y: "softmax loss", Series: []modelcard.Series{loss}})
	}
}
