package pipeline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"relish/evaluation"
	"relish/internal/plural"
	"relish/internal/stats"
	"relish/training"
	"relish/training/modelcard"
)

// addScores adds the metrics of all scorers, the paired differences and the calibration.
func addScores(d *modelcard.Data, r *results) {
	t := r.measured.table
	for _, row := range t.Rows {
		if strings.HasPrefix(row.Scorer, withoutPrefix) {
			continue
		}
		role := modelcard.RoleThis
		switch {
		case row.Baseline:
			role = modelcard.RoleBaseline
		case row.Scorer == r.measured.activeName:
			role = modelcard.RolePrevious
		}
		for _, m := range rowMetrics(t, row) {
			d.Scores = append(d.Scores, modelcard.Score{
				Scorer: row.Scorer, Role: role, Metric: m.name, Slice: row.Slice, Value: m.value,
			})
		}
	}
	for _, x := range t.Differences {
		if x.Scorer != newModelName || strings.HasPrefix(x.Against, withoutPrefix) {
			continue
		}
		isPlain := slices.Contains(r.measured.baselines, x.Against) && x.Against != t.Baseline
		if isPlain && x.Slice != evaluation.AllLists {
			continue // the gate compares over all lists
		}
		metric := fmt.Sprintf("NDCG@%d", t.K)
		if x.Corrected {
			metric += modelcard.CorrectedSuffix
		}
		against := x.Against
		if against == r.measured.activeName {
			against = r.plan.bundles.active.version()
		}
		d.Differences = append(d.Differences, modelcard.Difference{
			Against: against, Metric: metric, Slice: x.Slice, Value: x.NDCG,
		})
	}
	for _, o := range t.Overall {
		if o.Scorer == newModelName && o.Calibration != nil {
			d.Calibration = &modelcard.Calibration{
				Bins: o.Calibration.Bins, Error: o.Calibration.Error,
				Note: "The sigmoid is fitted to the earlier half of these lists " +
					"and measured on the later half.",
			}
		}
	}
}

// addRetention says whether a warm start made the scorer worse on old lists: it compares the
// parent's trees with the new ones on old lists that the new trees were not trained on.
func addRetention(d *modelcard.Data, lists []training.RetentionList, seed uint64) error {
	if len(lists) == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(seed, 0x01d))
	var parentNDCG, newNDCG []float64
	for _, l := range lists {
		for _, side := range []struct {
			scores []float64
			ndcg   *[]float64
		}{{l.ParentScores, &parentNDCG}, {l.NewScores, &newNDCG}} {
			order, err := evaluation.Order(side.scores, rng)
			if err != nil {
				return err
			}
			*side.ndcg = append(*side.ndcg, evaluation.NDCG(order, l.Gains, metricK))
		}
	}
	parent, err := stats.Bootstrap(parentNDCG, seed)
	if err != nil {
		return err
	}
	current, err := stats.Bootstrap(newNDCG, seed)
	if err != nil {
		return err
	}
	diff, err := stats.PairedBootstrap(newNDCG, parentNDCG, seed)
	if err != nil {
		return err
	}
	d.Tables = append(d.Tables, modelcard.Table{
		Title: "Quality on old lists",
		Note: fmt.Sprintf(
			"%s that the parent bundle was trained on and the new trees were not. The "+
				"signals that scored them were trained without their users.",
			plural.Count(len(lists), "list"),
		),
		Head: []string{"trees", fmt.Sprintf("NDCG@%d", metricK)},
		Rows: [][]string{
			{"parent", parent.String()}, {"new", current.String()}, {"difference", diff.String()},
		},
	})
	if diff.High < 0 && diff.Mean < -maxNDCGLoss {
		warn(
			d,
			true,
			"The new trees rank old lists worse than the parent's, by %.3f NDCG@%d (%s): "+
				"run a full training, without --from.",
			-diff.Mean,
			metricK,
			diff,
		)
	}
	return nil
}
