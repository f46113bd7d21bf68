package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/evaluation"
	"relish/internal/stats"
)

// evaluation is a finished evaluation with what was asked for.
type evaluationResult struct {
	Model       string   `json:"model,omitempty"` // the version that was measured, "" in an experiment
	Last        float64  `json:"last"`
	Prequential bool     `json:"prequential"`
	InSample    bool     `json:"in_sample"`
	HideItems   float64  `json:"hide_items,omitempty"`
	Ablate      []string `json:"ablate,omitempty"`
	*evaluation.Table
}

func (e *evaluationResult) title() string {
	t := fmt.Sprintf("%d lists with clicks, the newest %g of the log, %s", e.Lists, e.Last,
		map[bool]string{true: "prequential", false: "state frozen at the split"}[e.Prequential])
	if e.Model != "" {
		t = e.Model + ": " + t
	}
	if e.HideItems > 0 {
		t = fmt.Sprintf("ranking among the hidden %g of the items: %s", e.HideItems, t)
	}
	if e.InSample {
		t = "IN SAMPLE, the bundle has seen these lists: " + t
	}
	return t
}

func (e *evaluationResult) print() {
	e.printRows()
	e.printPairs()
	e.printOverall()
}

func newTable(title string, header table.Row) table.Writer {
	w := table.NewWriter()
	w.SetOutputMirror(os.Stdout)
	w.SetTitle(title)
	w.AppendHeader(header)
	return w
}

// printRows prints the scorers by slice, and what the models are better than the best plain baseline.
func (e *evaluationResult) printRows() {
	w := newTable(e.title(), table.Row{"lists", "n", "scorer", fmt.Sprintf("NDCG@%d [95 %%]", e.K), "MRR [95 %]", "NDCG over " + e.Baseline,
		fmt.Sprintf("MAP@%d", e.K), fmt.Sprintf("HR@%d", e.K), "AUC"})
	slice := ""
	for _, r := range e.Rows {
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
		w.AppendRow(table.Row{r.Slice, r.NDCG.N, r.Scorer, r.NDCG, r.MRR, over, fmt.Sprintf("%.3f", r.MAP.Mean), fmt.Sprintf("%.3f", r.HitRate.Mean), auc})
	}
	w.Render()
}

// printPairs prints the comparisons that were asked for.
func (e *evaluationResult) printPairs() {
	w := newTable("paired differences", table.Row{"better by", "than", "lists", "n", "NDCG [95 %]", "MRR [95 %]"})
	slice := ""
	for _, d := range e.Differences {
		if d.Against == e.Baseline {
			continue
		}
		if slice != "" && slice != d.Slice {
			w.AppendSeparator()
		}
		slice = d.Slice
		w.AppendRow(table.Row{d.Scorer, d.Against, d.Slice, d.NDCG.N, signed(d.NDCG), signed(d.MRR)})
	}
	if w.Length() > 0 {
		w.Render()
	}
}

// printOverall prints what is told over all lists.
func (e *evaluationResult) printOverall() {
	w := newTable("over all lists; probabilities by a sigmoid that was fitted on the earlier half and is measured on the later one",
		table.Row{"scorer", "calibration error", "pooled AUC", fmt.Sprintf("coverage@%d", e.K), fmt.Sprintf("diversity@%d", e.K)})
	for _, o := range e.Overall {
		row := []string{"", "", fmt.Sprintf("%.3f", o.Coverage), ""}
		if o.Calibration != nil {
			row[0] = fmt.Sprintf("%.3f", o.Calibration.Error)
		}
		if o.AUC != nil {
			row[1] = fmt.Sprintf("%.3f", *o.AUC)
		}
		if o.Diversity != nil {
			row[3] = fmt.Sprintf("%.3f", o.Diversity.Mean)
		}
		w.AppendRow(table.Row{o.Scorer, row[0], row[1], row[2], row[3]})
	}
	w.Render()
}

// signed is a difference with its sign.
func signed(i stats.Interval) string {
	return strings.ReplaceAll(fmt.Sprintf("%+.3f [%+.3f, %+.3f]", i.Mean, i.Low, i.High), "-", "−")
}
