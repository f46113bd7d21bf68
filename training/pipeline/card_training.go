package pipeline

import (
	"fmt"
	"math"
	"time"

	"relish/internal/plural"
	"relish/training"
	"relish/training/finetune"
	"relish/training/modelcard"
	"relish/training/twotower"
)

// addCurves shows the training of the scorer and of the two-tower model.
func addCurves(d *modelcard.Data, r *results) {
	trees := r.newModel.Trees
	validation := modelcard.Series{Name: "validation"}
	for i, y := range trees.ValidationNDCG {
		validation.X = append(validation.X, float64(i+1))
		validation.Y = append(validation.Y, y)
	}
	if len(validation.X) > 0 {
		kept := float64(trees.Rounds)
		d.Curves = append(d.Curves, modelcard.Curve{
			Name: "Scorer", X: "tree", Y: "NDCG@10",
			Series: []modelcard.Series{validation}, Kept: &kept,
		})
	}
	addTwoTowerCurves(d, r.newModel.TwoTowerEpochs)
}

// addTimeLimits says which time limits have shortened the training.
func addTimeLimits(d *modelcard.Data, r *results) {
	limited := func(setting, what string) {
		warn(d, false, "The time limit %s shortened the training of %s. On a faster or slower "+
			"machine the same log gives another bundle: remove the limit, or limit the steps.",
			setting, what)
	}
	if r.newModel.TwoTowerTimeLimited || r.final.TwoTowerTimeLimited {
		limited("train.two_tower.minutes", "the two-tower model")
	}
	if t := r.tuning; t.result != nil && t.result.TimeLimited {
		limited("train.encoder.minutes (--max-minutes)", "the text encoder")
	}
}

// addTwoTower says how the two-tower model compares with item popularity, and whether the bundle
// has it.
func addTwoTower(d *modelcard.Data, trained *training.Trained) {
	v := trained.TwoTower
	if v == nil {
		return
	}
	decision := "is part of the bundle"
	if trained.LeavesOutTwoTower() {
		decision = "is left out of the bundle, because it must be better by more than the " +
			"standard error of the difference"
	}
	if v.Users == 0 {
		note(d, "The two-tower model %s: no user is held out to compare it with item popularity. "+
			"That takes users with three interactions.", decision)
		return
	}
	note(d, "The two-tower model %s: NDCG@10 %.3f among 99 random items, item popularity %.3f; "+
		"the standard error of the difference is %.3f on the last interactions of %s.",
		decision, v.NDCG, v.Popularity, v.StandardError, plural.Count(v.Users, "user"))
}

func addTwoTowerCurves(d *modelcard.Data, epochs []twotower.Epoch) {
	loss := modelcard.Series{Name: "training loss"}
	ndcg := modelcard.Series{Name: "held-out interactions"}
	best, kept := math.Inf(-1), 0.0
	for _, e := range epochs {
		x := float64(e.Number)
		loss.X, loss.Y = append(loss.X, x), append(loss.Y, e.Loss)
		if math.IsNaN(e.NDCG) {
			continue
		}
		ndcg.X, ndcg.Y = append(ndcg.X, x), append(ndcg.Y, e.NDCG)
		if e.NDCG > best {
			best, kept = e.NDCG, x
		}
	}
	if len(loss.X) > 0 {
		d.Curves = append(d.Curves, modelcard.Curve{
			Name: "Two-tower model: loss", X: "epoch", Y: "softmax loss",
			Series: []modelcard.Series{loss},
		})
	}
	if len(ndcg.X) > 0 {
		d.Curves = append(d.Curves, modelcard.Curve{
			Name: "Two-tower model", X: "epoch", Y: "NDCG@10",
			Series: []modelcard.Series{ndcg}, Kept: &kept,
		})
	}
}

// maxInt8Loss is the NDCG that the 8-bit encoder may lose against 32 bits without a warning.
const maxInt8Loss = 0.01

// addEncoder describes the fine-tuning of the text encoder.
func addEncoder(d *modelcard.Data, t *tuning, objective string) {
	table := modelcard.Table{Title: "Text encoder", Note: t.note(), Head: []string{"", ""}}
	if t.failed {
		warn(d, false, "The text encoder could not be fine-tuned: %s.", t.reason)
	}
	result := t.result
	if result == nil {
		if t.encoder.vectors != nil {
			d.Tables = append(d.Tables, table)
		}
		return
	}
	v, q := &result.Validation, &result.Quantization
	table.Head = []string{"what", "figure"}
	table.Rows = [][]string{
		{"objective", objective},
		{
			"trained on",
			fmt.Sprintf("%d steps from one text to the next, %d texts", result.Pairs, result.Texts),
		},
		{
			"training steps, time",
			fmt.Sprintf("%d, %s", result.KeptStep, result.Duration.Round(time.Second)),
		},
		{"NDCG@10 of the next text, by text alone, on held-out texts: before", v.Base.String()},
		{"the same, after", v.FineTuned.String()},
		{"difference", v.Difference.String()},
		{"8-bit against 32-bit weights: difference of that NDCG", q.Difference.String()},
		{"8-bit against 32-bit weights: cosine of a text's vectors, mean and minimum",
			fmt.Sprintf("%.4f, %.4f", q.MeanCosine, q.MinCosine)},
		{"8-bit and 32-bit weights: size",
			fmt.Sprintf("%.1f MB, %.1f MB", float64(q.Bytes)/1e6, float64(q.BytesFP32)/1e6)},
		{"8-bit and 32-bit weights: texts per second on one thread",
			fmt.Sprintf("%.0f, %.0f", q.TextsPerSecond, q.TextsPerSecondFP32)},
	}
	d.Tables = append(d.Tables, table)
	if q.Difference.High < -maxInt8Loss {
		warn(
			d,
			false,
			"The fine-tuned encoder loses %.3f NDCG@10 with 8-bit weights: serve it with 32-bit "+
				"weights on a GPU, or train with --tune-encoder=false.",
			-q.Difference.Mean,
		)
	}
	d.Curves = append(d.Curves, encoderCurves(result)...)
}

// encoderCurves shows how fine-tuning went, by training step.
func encoderCurves(result *finetune.Result) []modelcard.Curve {
	ndcg, loss := modelcard.Series{Name: "held-out texts"}, modelcard.Series{Name: "training loss"}
	for _, e := range result.Evaluations {
		ndcg.X, ndcg.Y = append(ndcg.X, float64(e.Step)), append(ndcg.Y, e.NDCG)
		if !math.IsNaN(e.Loss) {
			loss.X, loss.Y = append(loss.X, float64(e.Step)), append(loss.Y, e.Loss)
		}
	}
	kept := float64(result.KeptStep)
	out := []modelcard.Curve{{
		Name: "Text encoder", X: "step", Y: "NDCG@10",
		Series: []modelcard.Series{ndcg}, Kept: &kept,
	}}
	if len(loss.X) > 0 {
		out = append(out, modelcard.Curve{
			Name: "Text encoder: loss", X: "step", Y: "softmax loss",
			Series: []modelcard.Series{loss},
		})
	}
	return out
}
