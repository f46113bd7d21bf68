package modelcard

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"

	"relish/evaluation"
	"relish/internal/chart"
	"relish/internal/stats"
)

// roleColours are the chart colours of scorers.
var roleColours = map[string]int{RoleThis: 1, RolePrevious: 4, RoleBaseline: 0}

// ScorePlot shows every scorer's main metric on all lists.
func (v *view) ScorePlot() template.HTML {
	if len(v.scores.metrics) == 0 {
		return ""
	}
	metric := v.scores.metrics[0]
	var rows []chart.Estimate
	for _, scorer := range v.scores.scorers {
		if s, ok := v.scores.find(metric, evaluation.AllLists, scorer.Scorer); ok {
			rows = append(rows, newEstimate("", s.Scorer, s))
		}
	}
	return figure(metric+" on all lists",
		"The mean of each scorer with its 95 % bootstrap interval, and the number of lists. "+
			"Further right is better.",
		func(a chart.About) chart.Chart {
			return &chart.Intervals{About: a, X: chart.Axis{Label: metric}, Rows: rows}
		})
}

func newEstimate(group, label string, s Score) chart.Estimate {
	return chart.Estimate{
		Group: group, Label: label + lists(s.Value),
		Value: s.Value.Mean, Low: s.Value.Low, High: s.Value.High,
		Note: formatPlural(s.Value.N, "list"), Color: roleColours[s.Role],
	}
}

// lists is the end of a label: how many lists an estimate is the mean of.
func lists(i stats.Interval) string { return fmt.Sprintf(" (%s)", formatCount(i.N)) }

// SlicePlot compares this bundle with the previous one and with the best baseline on each slice.
func (v *view) SlicePlot() template.HTML {
	if len(v.scores.partSlices()) == 0 {
		return ""
	}
	metric := v.scores.metrics[0]
	var rows []chart.Estimate
	for _, slice := range v.scores.partSlices() {
		for _, role := range []string{RoleThis, RolePrevious} {
			if s, ok := v.scores.byRole(metric, slice, role); ok {
				rows = append(rows, newEstimate(slice, s.Scorer, s))
			}
		}
		if s, ok := v.scores.bestBaseline(metric, slice); ok {
			rows = append(rows, newEstimate(slice, s.Scorer+" (best baseline)", s))
		}
	}
	return figure(metric+" by slice",
		"For each slice: this bundle, the previous one and the best baseline, each with its "+
			"number of lists. Fewer than 30 lists have no interval.",
		func(a chart.About) chart.Chart {
			return &chart.Intervals{About: a, X: chart.Axis{Label: metric}, Rows: rows}
		})
}

// DifferencePlot shows the paired differences of the main metric. On all lists there is one row
// for each scorer that this bundle is compared with; by slice there is one group of rows for each.
func (v *view) DifferencePlot(bySlice bool) template.HTML {
	var rows []chart.Estimate
	for _, d := range v.PairedDifferences(bySlice) {
		if len(v.scores.metrics) > 0 && d.Metric != v.scores.metrics[0] {
			continue
		}
		colour := map[string]int{stats.Better: 2, stats.Worse: 3}[d.Value.Verdict()]
		row := chart.Estimate{
			Label: d.Against, Value: d.Value.Mean, Low: d.Value.Low, High: d.Value.High,
			Note: formatPlural(d.Value.N, "list"), Color: colour,
		}
		if bySlice {
			row.Group, row.Label = "against "+d.Against, d.Slice+lists(d.Value)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return ""
	}
	slices.SortStableFunc(rows, func(a, b chart.Estimate) int {
		return cmp.Compare(a.Group, b.Group)
	})
	return figure("Paired difference",
		"This bundle minus the other on the same lists, and how many these are. Right of the "+
			"dashed line, this bundle is better.",
		func(a chart.About) chart.Chart {
			return &chart.Intervals{
				About: a, X: chart.Axis{Label: "difference", Zero: true}, Rows: rows,
				Ref: &chart.Mark{Label: "no difference"},
			}
		})
}

// CalibrationPlot draws the reliability diagram.
func (v *view) CalibrationPlot() template.HTML {
	if v.Calibration == nil {
		return ""
	}
	var bins []chart.Bin
	for _, b := range v.Calibration.Bins {
		bins = append(bins, chart.Bin{
			Predicted: b.Predicted, Observed: b.Observed, Low: b.Low, High: b.High, N: b.N,
		})
	}
	return figure("Predicted against observed",
		"Points on the dashed diagonal were predicted correctly.",
		func(a chart.About) chart.Chart { return &chart.Reliability{About: a, Bins: bins} })
}

// CurvePlots draws the learning curves.
func (v *view) CurvePlots() (out []template.HTML) {
	for _, c := range v.Curves {
		lines := &chart.Lines{X: chart.Axis{Label: c.X}, Y: chart.Axis{Label: c.Y}}
		for i, s := range c.Series {
			series := chart.Series{Name: s.Name, Color: i + 1}
			for k := range min(len(s.X), len(s.Y)) {
				series.Points = append(series.Points, chart.Point{X: s.X[k], Y: s.Y[k]})
			}
			lines.Series = append(lines.Series, series)
		}
		if c.Kept != nil {
			lines.Stops = []chart.Mark{{At: *c.Kept, Label: "kept: " + chart.Number(*c.Kept)}}
		}
		out = append(out, figure(c.Name, c.Y+" by "+c.X+".", func(a chart.About) chart.Chart {
			lines.About = a
			return lines
		}))
	}
	return out
}
