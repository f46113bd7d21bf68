package modelcard

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"relish/internal/chart"
)

// maxBars bounds the features in a bar chart. The table below the chart has all of them.
const maxBars = 20

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
