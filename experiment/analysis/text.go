package analysis

import (
	"fmt"
	"io"
	"math"

	"github.com/jedib0t/go-pretty/v6/table"

	"relish/internal/plural"
)

// WriteText writes the report as text: the decision first, then the tables it rests on.
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
	return fmt.Sprintf("%s: %s (%s) by %s, %s, %s to %s UTC", r.Experiment, r.Metric,
		r.MetricDescription, r.Unit, plural.Count(r.Days, "day"), r.From.Format(minute),
		r.To.Format(minute))
}

// reportTable is a table before it is rendered as text or HTML.
type reportTable struct {
	title string
	head  []string
	rows  [][]string
}

func (t *reportTable) add(cells ...string) { t.rows = append(t.rows, cells) }

// tables returns the report's tables. Text and HTML show the same ones.
func (r *Report) tables() []reportTable {
	if r.Interleaving != nil {
		return []reportTable{r.Interleaving.table()}
	}
	out := []reportTable{r.armsTable(), r.liftTable(), r.guardrailTable()}
	for _, t := range []reportTable{r.causesTable(), r.segmentTable()} {
		if len(t.rows) > 0 {
			out = append(out, t)
		}
	}
	return out
}

func (r *Report) armsTable() reportTable {
	t := reportTable{title: "Arms", head: []string{
		"arm", r.Unit + "s", "expected", "impressions", "clicks", "conversions", "revenue",
		r.Metric, "after CUPED", "P(best)",
	}}
	for i, a := range r.Arms {
		t.add(a.Name,
			fmt.Sprint(a.Users),
			formatPercent(r.SampleRatio.Expected[i], 1),
			formatCount(a.Impressions),
			formatCount(a.Clicks),
			formatCount(a.Conversions),
			fmt.Sprintf("%.2f", a.Revenue),
			formatNumber(a.Value),
			formatNumber(a.Adjusted)+" ± "+formatNumber(a.SE),
			formatPercent(a.ProbabilityBest, 1))
	}
	return t
}

func (r *Report) liftTable() reportTable {
	t := reportTable{title: "Compared with " + r.Control, head: []string{
		"arm", "lift", "interval, any look", "interval, one look", "p, any look",
		"p, one look (Holm)", "slope per day", "decision", "reason",
	}}
	for _, c := range r.Comparisons {
		t.add(c.Arm,
			formatPercent2(c.Lift.Value),
			formatInterval(c.Lift.SeqLow, c.Lift.SeqHigh, formatPercent2),
			formatInterval(c.Lift.Low, c.Lift.High, formatPercent2),
			formatP(c.SequentialP),
			formatP(c.PHolm),
			formatPercent2(c.Novelty.Slope),
			string(c.Action),
			c.Reason)
	}
	return t
}

func (r *Report) guardrailTable() reportTable {
	t := reportTable{title: "Guardrails", head: []string{
		"guardrail", "arm", "value in " + r.Control, "value in the arm", "change",
		"interval, any look", "margin", "status",
	}}
	for _, c := range r.Comparisons {
		for _, g := range c.Guardrails {
			format, margin := formatPercent2, fmt.Sprintf("%g %%", 100*g.Margin)
			if !g.RelativeMargin {
				format, margin = formatNumber, fmt.Sprintf("%g", g.Margin)
			}
			t.add(g.Name,
				c.Arm,
				formatNumber(g.Control),
				formatNumber(g.Arm),
				format(g.Change.Value),
				formatInterval(g.Change.SeqLow, g.Change.SeqHigh, format),
				margin,
				string(g.Status))
		}
	}
	return t
}

func (r *Report) causesTable() reportTable {
	t := reportTable{title: "Users that are not split as configured", head: []string{"users with"}}
	for _, a := range r.Arms {
		t.head = append(t.head, a.Name)
	}
	t.head = append(t.head, "p (Holm)")
	for _, cause := range r.SampleRatio.Causes {
		row := []string{cause.Slice}
		for _, n := range cause.Users {
			row = append(row, fmt.Sprint(n))
		}
		t.add(append(row, formatP(cause.P))...)
	}
	return t
}

func (r *Report) segmentTable() reportTable {
	t := reportTable{title: "Segments (for exploration, not for the decision)", head: []string{
		"segment", "arm", r.Unit + "s in " + r.Control, r.Unit + "s in the arm", "lift",
		"interval, one look", "p (Benjamini-Hochberg)",
	}}
	for _, s := range r.Segments {
		t.add(s.Name,
			s.Arm,
			fmt.Sprint(s.Users[0]),
			fmt.Sprint(s.Users[1]),
			formatPercent2(s.Lift.Value),
			formatInterval(s.Lift.Low, s.Lift.High, formatPercent2),
			formatP(s.P))
	}
	return t
}

func (in *Interleaving) table() reportTable {
	first, second := in.Arms[0], in.Arms[1]
	t := reportTable{title: fmt.Sprintf("Interleaving of %s and %s", first, second), head: []string{
		"users", "users with a click", "clicks on " + first, "clicks on " + second,
		"prefer " + first, "prefer " + second, "ties", "preference for " + second,
		"interval, any look", "p, any look", "p, one look", "p, sign test",
	}}
	t.add(fmt.Sprint(in.Users),
		fmt.Sprint(in.Voters),
		formatCount(in.Clicks[0]),
		formatCount(in.Clicks[1]),
		fmt.Sprint(in.Wins[0]),
		fmt.Sprint(in.Wins[1]),
		fmt.Sprint(in.Ties),
		formatNumber(in.Preference.Value),
		formatInterval(in.Preference.SeqLow, in.Preference.SeqHigh, formatNumber),
		formatP(in.SequentialP),
		formatP(in.P),
		formatP(in.SignP))
	return t
}

// notes returns what a reader must know to read the tables.
func (r *Report) notes() []string {
	level := fmt.Sprintf("Intervals are %g %% for all arms together. \"Any look\" holds however "+
		"often you look, \"one look\" for a single look at the end.", 100*(1-r.Alpha))
	if r.Interleaving != nil {
		return []string{level, fmt.Sprintf("%d records were read. %d interactions were left out, "+
			"because their list is unknown or too old.", r.Records, r.Unmatched)}
	}
	shares := "the configured weights"
	if r.SampleRatio.Assumed {
		shares = "equal shares, because no weights were given"
	}
	notes := []string{
		level,
		fmt.Sprintf("Sample ratio test against %s: chi-squared %.2f, p = %s.",
			shares, float64(r.SampleRatio.Chi2), formatP(r.SampleRatio.P)),
		fmt.Sprintf("%d records were read. %d %ss were left out because they were seen in more "+
			"than one arm, and %d interactions because their list is unknown or too old.",
			r.Records, r.SampleRatio.Crossed, r.Unit, r.Unmatched),
	}
	if r.InvalidValues > 0 {
		notes = append(notes, fmt.Sprintf("The values of %d purchases were left out, because they "+
			"are no finite numbers.", r.InvalidValues))
	}
	if r.Theta != 0 {
		notes = append(notes, fmt.Sprintf("What users did before their first exposure explains "+
			"%.0f %% of the variance (CUPED, theta %.3f).",
			100*float64(r.VarianceSaved), float64(r.Theta)))
	}
	for _, c := range r.Comparisons {
		if c.Novelty.WearsOff {
			notes = append(notes, fmt.Sprintf("The lift of %s changes by %s per day, p = %s: "+
				"it wears off.", c.Arm, formatPercent2(c.Novelty.Slope), formatP(c.Novelty.P)))
		}
	}
	return notes
}

func isUnknown(n Float) bool { return math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) }

// formatNumber prints four significant digits, "-" for an unknown number.
func formatNumber(n Float) string {
	if isUnknown(n) {
		return "-"
	}
	return fmt.Sprintf("%.4g", float64(n))
}

func formatCount(n float64) string { return fmt.Sprintf("%.0f", n) }

func formatPercent(n Float, decimals int) string {
	if isUnknown(n) {
		return "-"
	}
	return fmt.Sprintf("%.*f %%", decimals, 100*float64(n))
}

func formatPercent2(n Float) string { return formatPercent(n, 2) }

// formatP prints a p-value.
func formatP(p Float) string {
	switch {
	case isUnknown(p):
		return "-"
	case p < 0.0001:
		return "< 0.0001"
	}
	return fmt.Sprintf("%.4f", float64(p))
}

func formatInterval(low, high Float, format func(Float) string) string {
	if isUnknown(low) || isUnknown(high) {
		return "-"
	}
	return "[" + format(low) + ", " + format(high) + "]"
}
