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

// most features a picture shows; the table has all.
const most = 20

// figure is a picture under its own title.
func figure(title, desc string, draw func(chart.About) chart.Chart) template.HTML {
	return chart.Figure(title, draw(chart.About{Title: title, Description: desc}))
}

// flow is the picture of what was trained from what.
func (v *view) Flow() template.HTML {
	if len(v.Steps) == 0 {
		return ""
	}
	var boxes []chart.Box
	for _, p := range v.Parts {
		boxes = append(boxes, chart.Box{Name: p.Name, Note: plural(p.Lists, "list")})
	}
	colors := map[string]int{StepResult: 2, StepMeasures: 5}
	for _, s := range v.Steps {
		boxes = append(boxes, chart.Box{Name: s.Name, Note: s.Note, From: s.From, Color: max(1, colors[s.Kind])})
	}
	return figure("What was trained from what", "Arrows lead from the parts of the log over the models to the bundle.", func(a chart.About) chart.Chart {
		return &chart.Flow{About: a, Boxes: boxes}
	})
}

var roleColors = map[string]int{RoleThis: 1, RolePrevious: 4, RoleBaseline: 0}

// ScorePlot shows every scorer by the main metric on all lists.
func (v *view) ScorePlot() template.HTML {
	if len(v.scores.metrics) == 0 {
		return ""
	}
	metric := v.scores.metrics[0]
	var rows []chart.Estimate
	for _, o := range v.scores.scorers {
		if s, ok := v.scores.find(metric, evaluation.AllLists, o.Scorer); ok {
			rows = append(rows, estimate("", s.Scorer, s))
		}
	}
	return figure(metric+" on all lists", "Each scorer's mean with its 95 % bootstrap interval; further right is better.", func(a chart.About) chart.Chart {
		return &chart.Intervals{About: a, X: chart.Axis{Label: metric}, Rows: rows}
	})
}

func estimate(group, label string, s Score) chart.Estimate {
	return chart.Estimate{Group: group, Label: label, Value: s.Value.Mean, Low: s.Value.Low, High: s.Value.High,
		Note: plural(s.Value.N, "list"), Color: roleColors[s.Role]}
}

// SlicePlot compares this bundle with the previous one and the best baseline, slice by slice.
func (v *view) SlicePlot() template.HTML {
	if len(v.scores.partSlices()) == 0 {
		return ""
	}
	metric := v.scores.metrics[0]
	var rows []chart.Estimate
	for _, slice := range v.scores.partSlices() {
		for _, role := range []string{RoleThis, RolePrevious} {
			if s, ok := v.scores.byRole(metric, slice, role); ok {
				rows = append(rows, estimate(slice, s.Scorer, s))
			}
		}
		if s, ok := v.scores.bestBaseline(metric, slice); ok {
			rows = append(rows, estimate(slice, s.Scorer+" (best plain)", s))
		}
	}
	return figure(metric+" by slice", "For each slice: this bundle, the previous one and the best plain baseline.", func(a chart.About) chart.Chart {
		return &chart.Intervals{About: a, X: chart.Axis{Label: metric}, Rows: rows}
	})
}

// DifferencePlot shows the paired differences by the main metric: on all lists one row for each that
// this bundle is compared with, on the parts of the lists one group of rows.
func (v *view) DifferencePlot(parts bool) template.HTML {
	var rows []chart.Estimate
	for _, d := range v.differences(parts) {
		if len(v.scores.metrics) > 0 && d.Metric != v.scores.metrics[0] {
			continue
		}
		color := 0 // not told apart
		switch {
		case d.Value.Low > 0:
			color = 2
		case d.Value.High < 0:
			color = 3
		}
		row := chart.Estimate{Label: d.Against, Value: d.Value.Mean, Low: d.Value.Low, High: d.Value.High, Note: plural(d.Value.N, "list"), Color: color}
		if parts {
			row.Group, row.Label = "to "+d.Against, d.Slice
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return ""
	}
	slices.SortStableFunc(rows, func(a, b chart.Estimate) int { return cmp.Compare(a.Group, b.Group) })
	return figure("Paired difference", "This bundle minus the other, on the same lists; right of the dashed line this one is better.", func(a chart.About) chart.Chart {
		return &chart.Intervals{About: a, X: chart.Axis{Label: "difference", Zero: true}, Rows: rows, Ref: &chart.Mark{Label: "no difference"}}
	})
}

// CalibrationPlot is the reliability diagram.
func (v *view) CalibrationPlot() template.HTML {
	if v.Calibration == nil {
		return ""
	}
	var bins []chart.Bin
	for _, b := range v.Calibration.Bins {
		bins = append(bins, chart.Bin{Predicted: b.Predicted, Observed: b.Observed, Low: b.Low, High: b.High, N: b.N})
	}
	return figure("Predicted against observed", "Points on the dashed diagonal: what was predicted came true.", func(a chart.About) chart.Chart {
		return &chart.Reliability{About: a, Bins: bins}
	})
}

// CurvePlots are the learning curves.
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
		out = append(out, figure(c.Name, c.Y+" by "+c.X+".", func(a chart.About) chart.Chart { lines.About = a; return lines }))
	}
	return out
}

// bars draws the largest rows, with a word on how many there are.
func bars(title, desc, unit string, rows []chart.Bar) template.HTML {
	rows = slices.DeleteFunc(rows, func(b chart.Bar) bool { return b.Value == 0 })
	if len(rows) == 0 {
		return ""
	}
	slices.SortStableFunc(rows, func(a, b chart.Bar) int { return cmp.Compare(b.Value, a.Value) })
	if len(rows) > most {
		desc += fmt.Sprintf(" The first %d of %d.", most, len(rows))
		title += fmt.Sprintf(" (first %d of %d)", most, len(rows))
		rows = rows[:most]
	}
	return figure(title, desc, func(a chart.About) chart.Chart {
		return &chart.Bars{About: a, X: chart.Axis{Label: unit}, Rows: rows}
	})
}

// GainPlot shows each feature's share of the splits' gain.
func (v *view) GainPlot() template.HTML {
	total := 0.0
	for _, w := range v.Importances {
		total += w.Gain
	}
	var rows []chart.Bar
	for _, w := range v.Importances {
		if total > 0 {
			rows = append(rows, chart.Bar{Label: w.Feature, Value: 100 * w.Gain / total, Color: v.colours[w.Group]})
		}
	}
	return bars("Gain by feature", "What the trees' splits on a feature gained in training.", "% of all gain", rows)
}

// ContributionPlot shows how far each feature moves scores.
func (v *view) ContributionPlot() template.HTML {
	var rows []chart.Bar
	for _, w := range v.Importances {
		rows = append(rows, chart.Bar{Label: w.Feature, Value: w.Contribution, Color: v.colours[w.Group]})
	}
	return bars("Contribution by feature", "How far a feature moves the score of a candidate, up or down, on average.", "mean |contribution|", rows)
}

// GroupPlot adds the features' contributions up by group; its bars are the key to the colours.
func (v *view) GroupPlot() template.HTML {
	sums := map[string]float64{}
	for _, w := range v.Importances {
		sums[w.Group] += w.Contribution
	}
	var rows []chart.Bar
	for _, g := range v.groupNames {
		rows = append(rows, chart.Bar{Label: g, Value: sums[g], Color: v.colours[g]})
	}
	return bars("Contribution by group", "The features' mean |contribution|, added up by group. The colours are those of the other pictures.", "sum of mean |contribution|", rows)
}

// SpreadPlot shows in which direction values push: a point per candidate.
func (v *view) SpreadPlot() template.HTML {
	if len(v.ContributionSamples) == 0 {
		return ""
	}
	var rows []chart.Strip
	for _, s := range v.ContributionSamples {
		rows = append(rows, chart.Strip{Label: s.Feature, Grains: chartGrains(s.Points)})
	}
	return figure("Contributions, candidate by candidate", "Each point is one candidate: how far the feature moved its score, coloured by the feature's value.", func(a chart.About) chart.Chart {
		return &chart.Strips{About: a, X: chart.Axis{Label: "contribution to the score"}, Rows: rows, Low: "low value", High: "high value"}
	})
}

// chartGrains colours by the value's standing among the sample (the share below it, ties alike), so that
// outliers do not paint all others one colour.
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

// MissingPlot shows what is missing most.
func (v *view) MissingPlot() template.HTML {
	var rows []chart.Bar
	for _, f := range v.Features {
		rows = append(rows, chart.Bar{Label: f.Name, Value: 100 * f.Missing, Color: v.colours[f.Group]})
	}
	return bars("Missing values", "Share of the candidates for which a feature has no value; features that are never missing are left out.", "% of the candidates", rows)
}

// DistributionPlots are the log's histograms.
func (v *view) DistributionPlots() (out []template.HTML) {
	for _, d := range v.Log.Distributions {
		out = append(out, figure(d.Name, "How often each value occurs.", func(a chart.About) chart.Chart {
			return &chart.Histogram{About: a, X: chart.Axis{Label: d.Name}, Edges: d.Edges, Counts: d.Counts, Color: 1}
		}))
	}
	return out
}

// CostPlot shows what each matcher costs.
func (v *view) CostPlot() template.HTML {
	var rows []chart.Bar
	for _, m := range v.Signals {
		color := 0
		if m.Enabled {
			color = 1
		}
		rows = append(rows, chart.Bar{Label: m.Name, Value: m.Microseconds, Color: color})
	}
	return bars("Cost of the matchers", "Microseconds a request; grey ones are off.", "µs a request", rows)
}

// StagePlot shows where the time went.
func (v *view) StagePlot() template.HTML {
	var rows []chart.Bar
	for _, s := range v.Stages {
		rows = append(rows, chart.Bar{Label: s.Name, Value: s.Seconds, Color: 1})
	}
	return bars("Where the time went", "Seconds by stage of the training.", "seconds", rows)
}
