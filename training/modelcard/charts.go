package modelcard

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"relish/evaluation"
	"relish/internal/chart"
)

// maxBars bounds the features in a bar chart. The table below the chart has all of them.
const maxBars = 20

// roleColours are the chart colours of scorers.
var roleColours = map[string]int{RoleThis: 1, RolePrevious: 4, RoleBaseline: 0}

// figure draws a chart under its title.
func figure(title, description string, draw func(chart.About) chart.Chart) template.HTML {
	return chart.Figure(title, draw(chart.About{Title: title, Description: description}))
}

// Flow draws what was trained and measured on what.
func (v *view) Flow() template.HTML {
	if len(v.Steps) == 0 {
		return ""
	}
	var boxes []chart.Box
	for _, p := range v.Parts {
		boxes = append(boxes, chart.Box{Name: p.Name, Note: formatPlural(p.Lists, "list")})
	}
	colours := map[string]int{StepResult: 2, StepMeasures: 5}
	for _, s := range v.Steps {
		boxes = append(boxes,
			chart.Box{Name: s.Name, Note: s.Note, From: s.From, Color: max(1, colours[s.Kind])})
	}
	return figure("What was trained on what",
		"Arrows lead from the parts of the log through the models to the bundle.",
		func(a chart.About) chart.Chart { return &chart.Flow{About: a, Boxes: boxes} })
}

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
		"The mean of each scorer with its 95 % bootstrap interval. Further right is better.",
		func(a chart.About) chart.Chart {
			return &chart.Intervals{About: a, X: chart.Axis{Label: metric}, Rows: rows}
		})
}

func newEstimate(group, label string, s Score) chart.Estimate {
	return chart.Estimate{
		Group: group, Label: label, Value: s.Value.Mean, Low: s.Value.Low, High: s.Value.High,
		Note: formatPlural(s.Value.N, "list"), Color: roleColours[s.Role],
	}
}

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
		"For each slice: this bundle, the previous one and the best baseline.",
		func(a chart.About) chart.Chart {
			return &chart.Intervals{About: a, X: chart.Axis{Label: metric}, Rows: rows}
		})
}

// DifferencePlot shows the paired differences of the main metric. On all lists there is one row
// for each scorer that this bundle is compared with; by slice there is one group of rows for each.
func (v *view) DifferencePlot(bySlice bool) template.HTML {
	var rows []chart.Estimate
	for _, d := range v.differences(bySlice) {
		if len(v.scores.metrics) > 0 && d.Metric != v.scores.metrics[0] {
			continue
		}
		colour := 0 // no clear difference
		switch {
		case d.Value.Low > 0:
			colour = 2
		case d.Value.High < 0:
			colour = 3
		}
		row := chart.Estimate{
			Label: d.Against, Value: d.Value.Mean, Low: d.Value.Low, High: d.Value.High,
			Note: formatPlural(d.Value.N, "list"), Color: colour,
		}
		if bySlice {
			row.Group, row.Label = "against "+d.Against, d.Slice
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
		"This bundle minus the other on the same lists. Right of the dashed line, this bundle is "+
			"better.",
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

// bars draws the largest rows. The title says how many rows there are if some are left out.
func bars(title, description, unit string, rows []chart.Bar) template.HTML {
	rows = slices.DeleteFunc(rows, func(b chart.Bar) bool { return b.Value == 0 })
	if len(rows) == 0 {
		return ""
	}
	slices.SortStableFunc(rows, func(a, b chart.Bar) int { return cmp.Compare(b.Value, a.Value) })
	if len(rows) > maxBars {
		description += fmt.Sprintf(" The first %d of %d.", maxBars, len(rows))
		title += fmt.Sprintf(" (first %d of %d)", maxBars, len(rows))
		rows = rows[:maxBars]
	}
	return figure(title, description, func(a chart.About) chart.Chart {
		return &chart.Bars{About: a, X: chart.Axis{Label: unit}, Rows: rows}
	})
}

// GainPlot shows each feature's share of the total gain.
func (v *view) GainPlot() template.HTML {
	total := 0.0
	for _, i := range v.Importances {
		total += i.Gain
	}
	var rows []chart.Bar
	for _, i := range v.Importances {
		if total > 0 {
			rows = append(rows,
				chart.Bar{Label: i.Feature, Value: 100 * i.Gain / total, Color: v.colours[i.Group]})
		}
	}
	return bars("Gain by feature", "How much the splits on a feature reduced the training loss.",
		"% of the total gain", rows)
}

// ContributionPlot shows how far each feature moves scores.
func (v *view) ContributionPlot() template.HTML {
	var rows []chart.Bar
	for _, i := range v.Importances {
		rows = append(rows,
			chart.Bar{Label: i.Feature, Value: i.Contribution, Color: v.colours[i.Group]})
	}
	return bars("Contribution by feature",
		"How far a feature moves a candidate's score, up or down, on average.",
		"mean |contribution|", rows)
}

// GroupPlot sums the contributions by feature group. Its bars are the legend of the colours.
func (v *view) GroupPlot() template.HTML {
	sums := map[string]float64{}
	for _, i := range v.Importances {
		sums[i.Group] += i.Contribution
	}
	var rows []chart.Bar
	for _, group := range v.groupNames {
		rows = append(rows, chart.Bar{Label: group, Value: sums[group], Color: v.colours[group]})
	}
	return bars("Contribution by group",
		"Mean |contribution| of the features, summed by group. The other charts use the same "+
			"colours.",
		"sum of mean |contribution|", rows)
}

// ContributionSamplePlot shows in which direction feature values move scores: one point for each
// sampled candidate.
func (v *view) ContributionSamplePlot() template.HTML {
	if len(v.ContributionSamples) == 0 {
		return ""
	}
	var rows []chart.Strip
	for _, s := range v.ContributionSamples {
		rows = append(rows, chart.Strip{Label: s.Feature, Grains: chartGrains(s.Points)})
	}
	return figure("Contributions, candidate by candidate",
		"Each point is one candidate: how far the feature moved its score, coloured by its value.",
		func(a chart.About) chart.Chart {
			return &chart.Strips{
				About: a, X: chart.Axis{Label: "contribution to the score"}, Rows: rows,
				Low: "low value", High: "high value",
			}
		})
}

// chartGrains colours each point by the quantile of its value in the sample; ties get the same
// colour. With quantiles, a few outliers do not give all other points the same colour.
func chartGrains(points []ContributionPoint) []chart.Grain {
	var values []float64
	for _, p := range points {
		if p.Value != nil {
			values = append(values, *p.Value)
		}
	}
	slices.Sort(values)
	out := make([]chart.Grain, len(points))
	for i, p := range points {
		out[i] = chart.Grain{X: p.Contribution, Level: math.NaN()}
		if p.Value == nil {
			continue
		}
		first, _ := slices.BinarySearch(values, *p.Value)
		last, _ := slices.BinarySearchFunc(values, *p.Value, func(v, target float64) int {
			if v <= target {
				return -1
			}
			return 1
		})
		out[i].Level = float64(first+last) / 2 / float64(len(values))
	}
	return out
}

// MissingPlot shows the features with the most missing values.
func (v *view) MissingPlot() template.HTML {
	var rows []chart.Bar
	for _, f := range v.Features {
		rows = append(rows,
			chart.Bar{Label: f.Name, Value: 100 * f.Missing, Color: v.colours[f.Group]})
	}
	return bars("Missing values",
		"Share of the candidates without a value of the feature. Features that are never missing "+
			"are left out.",
		"% of the candidates", rows)
}

// DistributionPlots draws the histograms of the log.
func (v *view) DistributionPlots() (out []template.HTML) {
	for _, d := range v.Log.Distributions {
		draw := func(a chart.About) chart.Chart {
			return &chart.Histogram{
				About: a, X: chart.Axis{Label: d.Name}, Edges: d.Edges, Counts: d.Counts, Color: 1,
			}
		}
		out = append(out, figure(d.Name, "How often each value occurs.", draw))
	}
	return out
}

// CostPlot shows the cost of each signal.
func (v *view) CostPlot() template.HTML {
	var rows []chart.Bar
	for _, s := range v.Signals {
		colour := 0
		if s.Enabled {
			colour = 1
		}
		rows = append(rows, chart.Bar{Label: s.Name, Value: s.Microseconds, Color: colour})
	}
	return bars("Cost of the signals", "Microseconds for one request. Grey signals are disabled.",
		"µs per request", rows)
}

// StagePlot shows the time of each stage of the training.
func (v *view) StagePlot() template.HTML {
	var rows []chart.Bar
	for _, s := range v.Stages {
		rows = append(rows, chart.Bar{Label: s.Name, Value: s.Seconds, Color: 1})
	}
	return bars("Time by stage", "Seconds that each stage of the training took.", "seconds", rows)
}
