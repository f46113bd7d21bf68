package pipeline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/training"
	"relish/training/modelcard"
	"relish/training/twotower"
)

// tellScores says how good it is.
func (r *run) tellScores(d *modelcard.Data, s *story) {
	t := s.results.table
	for _, row := range t.Rows {
		if strings.HasPrefix(row.Scorer, withoutStart) {
			continue
		}
		role := modelcard.RoleThis
		switch {
		case row.Baseline:
			role = modelcard.RoleBaseline
		case row.Scorer == s.results.running:
			role = modelcard.RolePrevious
		}
		for _, m := range metricsIn(t, row) {
			d.Scores = append(d.Scores, modelcard.Score{Scorer: row.Scorer, Role: role, Metric: m.name, Slice: row.Slice, Value: m.value})
		}
	}
	metric := fmt.Sprintf("NDCG@%d", t.K)
	for _, x := range t.Differences {
		if x.Scorer != thisBundle || strings.HasPrefix(x.Against, withoutStart) {
			continue
		}
		against := x.Against
		if against == s.results.running {
			against = r.version()
		}
		d.Differences = append(d.Differences, modelcard.Difference{Against: against, Metric: metric, Slice: x.Slice, Value: x.NDCG})
	}
	for _, o := range t.Overall {
		if o.Scorer == thisBundle && o.Calibration != nil {
			d.Calibration = &modelcard.Calibration{Bins: o.Calibration.Bins, Error: o.Calibration.Error,
				Note: "The sigmoid was fitted to the earlier half of these lists, and is measured on the later half."}
		}
	}
	kept := float64(s.measured.Trees.Rounds)
	curve := modelcard.Series{Name: "validation"}
	for i, y := range s.measured.Trees.ValidationNDCG {
		curve.X, curve.Y = append(curve.X, float64(i+1)), append(curve.Y, y)
	}
	if len(curve.X) > 0 {
		d.Curves = []modelcard.Curve{{Name: "Blend", X: "tree", Y: "NDCG@10", Series: []modelcard.Series{curve}, Kept: &kept}}
	}
	tellEpochs(d, s.measured.TwoTowerEpochs)
}

// tellEpochs shows how the match model's training went.
func tellEpochs(d *modelcard.Data, epochs []twotower.Epoch) {
	loss, ndcg := modelcard.Series{Name: "training loss"}, modelcard.Series{Name: "held-out steps"}
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
		d.Curves = append(d.Curves, modelcard.Curve{Name: "Match model: loss", X: "epoch", Y: "softmax loss", Series: []modelcard.Series{loss}})
	}
	if len(ndcg.X) > 0 {
		d.Curves = append(d.Curves, modelcard.Curve{Name: "Match model", X: "epoch", Y: "NDCG@10", Series: []modelcard.Series{ndcg}, Kept: &kept})
	}
}

// tellOld says whether a training from a parent has forgotten: how well the old lists that it did not learn from are
// ordered by the parent's trees, and by the new ones.
func tellOld(d *modelcard.Data, lists []training.RetentionList, seed uint64) error {
	if len(lists) == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(seed, 0x01d))
	var values [2][]float64
	for _, l := range lists {
		for k, scores := range [][]float64{l.ParentScores, l.NewScores} {
			order, err := evaluation.Order(scores, rng)
			if err != nil {
				return err
			}
			values[k] = append(values[k], evaluation.NDCG(order, l.Gains, metricK))
		}
	}
	before, err := stats.Bootstrap(values[0], seed)
	if err != nil {
		return err
	}
	after, err := stats.Bootstrap(values[1], seed)
	if err != nil {
		return err
	}
	diff, err := stats.PairedBootstrap(values[1], values[0], seed)
	if err != nil {
		return err
	}
	d.Tables = append(d.Tables, modelcard.Table{Title: "What it has forgotten",
		Note: fmt.Sprintf("%d lists from before the bundle that it was trained on from ended. They were kept out of the new trees, and the matchers that scored them know none of their users.", len(lists)),
		Head: []string{"trees", fmt.Sprintf("NDCG@%d", metricK)},
		Rows: [][]string{{"the parent's", before.String()}, {"the new ones", after.String()}, {"difference", diff.String()}}})
	if diff.High < 0 && diff.Mean < -maxNDCGLoss {
		d.Warnings = append(d.Warnings, modelcard.Warning{Serious: true, Text: fmt.Sprintf("The new trees order old lists worse than the parent's, by %.3f NDCG@%d (%s): train anew, without --from.", -diff.Mean, metricK, diff)})
	}
	return nil
}
