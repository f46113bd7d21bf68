package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/evaluation"
	"relish/internal/app"
	"relish/internal/plural"
	"relish/internal/stats"
)

// printEvaluation prints the metrics as tables.
func printEvaluation(e *app.Evaluation) {
	if e.Note != "" {
		fmt.Println("Note: " + e.Note + ".")
	}
	printScorers(e)
	printCorrected(e)
	printDifferences(e)
	printOverall(e)
}

// evaluationTitle says what was measured, and how.
func evaluationTitle(e *app.Evaluation) string {
	method := "state frozen before the first list"
	if e.Prequential {
		method = "prequential"
	}
	part := "new since its training"
	if e.Last > 0 {
		part = fmt.Sprintf("the newest %g of the log", e.Last)
	}
	title := fmt.Sprintf("%s with clicks, %s, %s", plural.Count(e.Lists, "list"), part, method)
	if e.Model != "" {
		title = e.Model + ": " + title
	}
	if e.HideItems > 0 {
		title = fmt.Sprintf("ranking among the hidden %g of the items: %s", e.HideItems, title)
	}
	if e.InSample {
		title = "IN SAMPLE, the bundle was trained on some of these lists: " + title
	}
	return title
}

// printScorers prints the scorers by slice, and how much the models are better than the best
// baseline.
func printScorers(e *app.Evaluation) {
	w := newTable(evaluationTitle(e), table.Row{
		"lists", "n", "scorer", fmt.Sprintf("NDCG@%d [95 %%]", e.K), "MRR [95 %]",
		"NDCG over " + e.Baseline,
		fmt.Sprintf("MAP@%d", e.K), fmt.Sprintf("HR@%d", e.K), "AUC",
	})
	slice := ""
	for _, r := range e.Rows {
		if r.Scorer == evaluation.LoggedOrder {
			continue // position bias flatters it; printCorrected shows it
		}
		if slice != "" && slice != r.Slice {
			w.AppendSeparator()
		}
		slice = r.Slice
		over, auc := "", ""
		if d, ok := e.Difference(r.Scorer, e.Baseline, r.Slice); ok {
			over = signed(d.NDCG)
		}
		if r.AUC != nil {
			auc = fmt.Sprintf("%.3f", r.AUC.Mean)
		}
		w.AppendRow(table.Row{
			r.Slice, r.NDCG.N, r.Scorer, r.NDCG, r.MRR, over,
			fmt.Sprintf("%.3f", r.MAP.Mean), fmt.Sprintf("%.3f", r.HitRate.Mean), auc,
		})
	}
	w.Render()
}

// printCorrected prints the position-corrected metrics, if the log tells its position bias.
func printCorrected(e *app.Evaluation) {
	if !e.PositionBias.Known {
		fmt.Println("no position-corrected metrics: the log does not tell its position bias. " +
			"Serve with rules.exploration for a while, or collect more clicks")
		return
	}
	title := "position-corrected; positions explain no clicks"
	if e.PositionBias.Explains {
		title = fmt.Sprintf("position-corrected; looked at: place 2 %.2f, 5 %.2f, 10 %.2f",
			e.PositionBias.Examination[1], e.PositionBias.Examination[4],
			e.PositionBias.Examination[9])
	}
	w := newTable(title, table.Row{
		"lists", "scorer", fmt.Sprintf("NDCG@%d [95 %%]", e.K), "MRR [95 %]",
		"NDCG over " + e.Baseline, "NDCG over " + evaluation.LoggedOrder,
	})
	slice := ""
	for _, r := range e.Rows {
		if slice != "" && slice != r.Slice {
			w.AppendSeparator()
		}
		slice = r.Slice
		row := table.Row{r.Slice, r.Scorer, *r.CorrectedNDCG, *r.CorrectedMRR}
		for _, against := range []string{e.Baseline, evaluation.LoggedOrder} {
			over := ""
			if d, ok := e.CorrectedDifference(r.Scorer, against, r.Slice); ok {
				over = signed(d.NDCG)
			}
			row = append(row, over)
		}
		w.AppendRow(row)
	}
	w.Render()
}

// printDifferences prints the paired differences between models.
func printDifferences(e *app.Evaluation) {
	w := newTable("paired differences",
		table.Row{"better by", "than", "lists", "n", "NDCG [95 %]", "MRR [95 %]"})
	slice := ""
	for _, d := range e.Differences {
		if d.Against == e.Baseline || d.Corrected {
			continue // printScorers and printCorrected show it
		}
		if slice != "" && slice != d.Slice {
			w.AppendSeparator()
		}
		slice = d.Slice
		w.AppendRow(table.Row{
			d.Scorer, d.Against, d.Slice, d.NDCG.N, signed(d.NDCG), signed(d.MRR),
		})
	}
	if w.Length() > 0 {
		w.Render()
	}
}

// printOverall prints the metrics that are computed over all lists together.
func printOverall(e *app.Evaluation) {
	// Longer titles would be cut within a word.
	const title = "over all lists; click probabilities fitted on the first half"
	w := newTable(title, table.Row{
		"scorer", "calibration error", "pooled AUC", fmt.Sprintf("coverage@%d", e.K),
		fmt.Sprintf("diversity@%d", e.K),
	})
	for _, o := range e.Overall {
		calibration, auc, diversity := "", "", ""
		if o.Calibration != nil {
			calibration = fmt.Sprintf("%.3f", o.Calibration.Error)
		}
		if o.AUC != nil {
			auc = fmt.Sprintf("%.3f", *o.AUC)
		}
		if o.Diversity != nil {
			diversity = fmt.Sprintf("%.3f", o.Diversity.Mean)
		}
		coverage := fmt.Sprintf("%.3f", o.Coverage)
		w.AppendRow(table.Row{o.Scorer, calibration, auc, coverage, diversity})
	}
	w.Render()
}

// signed formats a difference with its sign.
func signed(i stats.Interval) string {
	return strings.ReplaceAll(i.Signed(), "-", "−")
}

// printEstimate prints an off-policy estimate. If the log does not allow one, it returns an error.
func (c *evaluateCmd) printEstimate(r *evaluation.OffPolicyEstimate) error {
	var refused error
	if r.Refused != "" {
		refused = fmt.Errorf("no estimate for %s: %s", r.Policy, r.Refused)
	}
	if c.JSON {
		if err := printJSON(r); err != nil {
			return err
		}
		return refused
	}
	fmt.Printf("%s (left out: %d without exploration, %d truncated), worth %.0f lists in "+
		"which %s agrees with what was shown; mean weight %.3f, unsupported %.1f %%\n",
		plural.Count(r.Lists, "list"), r.Unexplored, r.Truncated, r.EffectiveLists, r.Policy,
		r.MeanWeight, 100*r.Unsupported)
	if refused != nil {
		return refused
	}
	title := fmt.Sprintf("gain of the first %d positions, per list", r.K)
	w := newTable(title, table.Row{"", "estimate", "95 %, by user"})
	row := func(name string, x *stats.Interval) {
		interval := fmt.Sprintf("%.4f to %.4f", x.Low, x.High)
		w.AppendRow(table.Row{name, fmt.Sprintf("%.4f", x.Mean), interval})
	}
	row("as logged", r.Logged)
	w.AppendSeparator()
	row(r.Policy+", IPS", r.IPS)
	row(r.Policy+", SNIPS", r.SNIPS)
	row(r.Policy+", doubly robust", r.DR)
	row("doubly robust minus logged", r.DRMinusLogged)
	w.Render()
	return nil
}
