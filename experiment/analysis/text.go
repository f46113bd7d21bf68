package analysis

import (
	"fmt"
	"io"
	"math"

	"github.com/jedib0t/go-pretty/v6/table"
)

// WriteText writes the report for people: the verdict first, then what it rests on.
func (r *Report) WriteText(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%s\n\n", r.headline(), r.Decision.Summary)
	for _, t := range r.tables() {
		p := table.NewWriter()
		p.SetOutputMirror(w)
		p.SetTitle(t.title)
		p.AppendHeader(toRow(t.head))
		for _, row := range t.rows {
			p.AppendRow(toRow(row))
		}
		p.Render()
	}
	for _, note := range r.notes() {
		fmt.Fprintln(w, note)
	}
}

func toRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = c
	}
	return row
}

func (r *Report) headline() string {
	const minute = "2006-01-02 15:04"
	return fmt.Sprintf("%s: %s (%s) by %s, %d days, %s to %s UTC", r.Experiment, r.Metric, r.MetricDescription, r.Unit, r.Days, r.From.Format(minute), r.To.Format(minute))
}

// reportTable is a table before it is text or HTML.
type reportTable struct {
	title string
	head  []string
	rows  [][]string
}

// tables are the report's tables; text and HTML show the same ones.
func (r *Report) tables() []reportTable {
	if r.Interleaving != nil {
		return []reportTable{r.Interleaving.table()}
	}
	out := []reportTable{r.armsTable(), r.liftTable(), r.guardrailTable()}
	if g := r.causesTable(); len(g.rows) > 0 {
		out = append(out, g)
	}
	if g := r.segmentTable(); len(g.rows) > 0 {
		out = append(out, g)
	}
	return out
}

func (r *Report) armsTable() reportTable {
	g := reportTable{"Arms", []string{"arm", r.Unit + "s", "expected", "impressions", "clicks", "conversions", "revenue", r.Metric, "adjusted", "P(best)"}, nil}
	for i, a := range r.Arms {
		g.rows = append(g.rows, []string{a.Name, fmt.Sprint(a.Users), formatPercent(r.SampleRatio.Expected[i], 1), fmt.Sprintf("%.0f", a.Impressions), fmt.Sprintf("%.0f", a.Clicks),
			fmt.Sprintf("%.0f", a.Conversions), fmt.Sprintf("%.2f", a.Revenue), formatNumber(a.Value), fmt.Sprintf("%s ± %s", formatNumber(a.Adjusted), formatNumber(a.SE)), formatPercent(a.ProbabilityBest, 1)})
	}
	return g
}

func (r *Report) liftTable() reportTable {
	g := reportTable{"Against " + r.Control, []string{"arm", "lift", "interval, any look", "interval, one look", "p, any look", "p, one look (Holm)", "slope a day", "decision", "why"}, nil}
	for _, c := range r.Comparisons {
		g.rows = append(g.rows, []string{c.Arm, formatPercent(c.Lift.Value, 2), formatInterval(c.Lift.SeqLow, c.Lift.SeqHigh, formatPercent2), formatInterval(c.Lift.Low, c.Lift.High, formatPercent2),
			formatP(c.SequentialP), formatP(c.PHolm), formatPercent(c.Novelty.Slope, 2), string(c.Action), c.Reason})
	}
	return g
}

func (r *Report) guardrailTable() reportTable {
	g := reportTable{"Guardrails", []string{"guardrail", "arm", r.Control, "arm's", "change", "interval, any look", "margin", "status"}, nil}
	for _, c := range r.Comparisons {
		for _, x := range c.Guardrails {
			show, margin := formatPercent2, fmt.Sprintf("%g %%", 100*x.Margin)
			if !x.RelativeMargin {
				show, margin = formatNumber, fmt.Sprintf("%g", x.Margin)
			}
			g.rows = append(g.rows, []string{x.Name, c.Arm, formatNumber(x.Control), formatNumber(x.Arm), show(x.Change.Value), formatInterval(x.Change.SeqLow, x.Change.SeqHigh, show), margin, string(x.Status)})
		}
	}
	return g
}

func (r *Report) causesTable() reportTable {
	g := reportTable{"Where the split is off", []string{"slice"}, nil}
	for _, a := range r.Arms {
		g.head = append(g.head, a.Name)
	}
	g.head = append(g.head, "p (Holm)")
	for _, s := range r.SampleRatio.Causes {
		row := []string{s.Slice}
		for _, n := range s.Users {
			row = append(row, fmt.Sprint(n))
		}
		g.rows = append(g.rows, append(row, formatP(s.P)))
	}
	return g
}

func (r *Report) segmentTable() reportTable {
	g := reportTable{"Segments (to find out, not to decide)", []string{"segment", "arm", "in " + r.Control, "in the arm", "lift", "interval, one look", "p (Benjamini-Hochberg)"}, nil}
	for _, s := range r.Segments {
		g.rows = append(g.rows, []string{s.Name, s.Arm, fmt.Sprint(s.Users[0]), fmt.Sprint(s.Users[1]), formatPercent2(s.Lift.Value), formatInterval(s.Lift.Low, s.Lift.High, formatPercent2), formatP(s.P)})
	}
	return g
}

func (in *Interleaving) table() reportTable {
	return reportTable{fmt.Sprintf("Interleaved: %s (first) and %s", in.Arms[0], in.Arms[1]),
		[]string{"users", "voters", "clicks first", "clicks second", "wins first", "wins second", "ties", "preference", "interval, any look", "p, any look", "p, one look", "p, sign test"},
		[][]string{{fmt.Sprint(in.Users), fmt.Sprint(in.Voters), fmt.Sprintf("%.0f", in.Clicks[0]), fmt.Sprintf("%.0f", in.Clicks[1]), fmt.Sprint(in.Wins[0]), fmt.Sprint(in.Wins[1]), fmt.Sprint(in.Ties),
			formatNumber(in.Preference.Value), formatInterval(in.Preference.SeqLow, in.Preference.SeqHigh, formatNumber), formatP(in.SequentialP), formatP(in.P), formatP(in.SignP)}}}
}

// notes are what a reader should know beside the tables.
func (r *Report) notes() []string {
	level := fmt.Sprintf("Intervals are %g %%, all arms together; \"any look\" holds however often one looks.", 100*(1-r.Alpha))
	if r.Interleaving != nil {
		return []string{level, fmt.Sprintf("%d records read, %d interactions named a list that is unknown or too old.", r.Records, r.Unmatched)}
	}
	shares := "the configured weights"
	if r.SampleRatio.Assumed {
		shares = "equal shares, as no weights were given"
	}
	notes := []string{level,
		fmt.Sprintf("Split against %s: chi-squared %.2f, p = %s.", shares, float64(r.SampleRatio.Chi2), formatP(r.SampleRatio.P)),
		fmt.Sprintf("%d records read; %d %ss in more than one arm and %d interactions that name an unknown or too old list were left out.", r.Records, r.SampleRatio.Crossed, r.Unit, r.Unmatched)}
	if r.Theta != 0 {
		notes = append(notes, fmt.Sprintf("What users did before their first exposure explains %.0f %% of the variance (CUPED, theta %.3f).", 100*float64(r.VarianceSaved), float64(r.Theta)))
	}
	for _, c := range r.Comparisons {
		if c.Novelty.WearsOff {
			notes = append(notes, fmt.Sprintf("The lift of %s changes by %s a day, p = %s: it wears off.", c.Arm, formatPercent2(c.Novelty.Slope), formatP(c.Novelty.P)))
		}
	}
	return notes
}

func isUnknown(n Float) bool { return math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) }

// formatNumber shows four significant digits.
func formatNumber(n Float) string {
	if isUnknown(n) {
		return "-"
	}
	return fmt.Sprintf("%.4g", float64(n))
}

func formatPercent(n Float, digits int) string {
	if isUnknown(n) {
		return "-"
	}
	return fmt.Sprintf("%.*f %%", digits, 100*float64(n))
}

func formatPercent2(n Float) string { return formatPercent(n, 2) }

func formatP(n Float) string {
	switch {
	case isUnknown(n):
		return "-"
	case n < 0.0001:
		return "< 0.0001"
	}
	return fmt.Sprintf("%.4f", float64(n))
}

func formatInterval(low, high Float, show func(Float) string) string {
	if isUnknown(low) || isUnknown(high) {
		return "-"
	}
	return "[" + show(low) + ", " + show(high) + "]"
}
