package analysis

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"time"

	"relish/internal/chart"
)

var (
	//go:embed page.css
	pageCSS string
	//go:embed page.html
	pageHTML string

	page = template.Must(template.New("page").Parse(pageHTML))
)

// pageView is what page.html shows.
type pageView struct {
	Report   *Report
	Headline string
	CSS      template.CSS
	Policy   string // Content-Security-Policy
	Mood     string // CSS class of the decision: good, warn or bad
	Figures  []template.HTML
	Tables   []pageTable
	Notes    []string
}

type pageTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

// WriteHTML writes the report as one self-contained page. It has no script and loads nothing. Its
// Content-Security-Policy allows its own style sheet only.
func (r *Report) WriteHTML(w io.Writer) error {
	css := chart.CSS + pageCSS
	sum := sha256.Sum256([]byte(css))
	hash := base64.StdEncoding.EncodeToString(sum[:])
	view := pageView{
		Report:   r,
		Headline: r.headline(),
		CSS:      template.CSS(css),
		Policy: "default-src 'none'; style-src 'sha256-" + hash + "'; base-uri 'none'; " +
			"form-action 'none'",
		Mood:    "bad",
		Figures: r.figures(),
		Notes:   r.notes(),
	}
	switch r.Decision.Action {
	case Ship:
		view.Mood = "good"
	case KeepRunning:
		view.Mood = "warn"
	}
	for _, t := range r.tables() {
		view.Tables = append(view.Tables, pageTable{t.title, t.head, t.rows})
	}
	return page.Execute(w, view)
}

// figures returns the report's charts.
func (r *Report) figures() []template.HTML {
	switch {
	case r.Interleaving != nil:
		return []template.HTML{r.Interleaving.figure()}
	case len(r.Series) == 0:
		return []template.HTML{r.liftFigure()}
	}
	return []template.HTML{
		r.cumulativeFigure(),
		r.liftFigure(),
		r.valueFigure(),
		r.dailyFigure(),
		r.distributionFigure(),
	}
}

func (in *Interleaving) figure() template.HTML {
	return chart.Figure("Which arm's items users click", &chart.Intervals{
		About: chart.About{
			Title: "Preference",
			Description: "Mean over users with a click of the second arm's share of clicks less " +
				"the first arm's. The interval holds at any look.",
		},
		X:    chart.Axis{Label: "preference for " + in.Arms[1], Zero: true},
		Ref:  &chart.Mark{At: 0, Label: "no preference"},
		Rows: []chart.Estimate{intervalRow(in.Arms[1], in.Preference, 1, 1)},
	})
}

// intervalRow returns a row of a chart with the sequential interval, both multiplied by scale.
func intervalRow(label string, x Range, scale float64, color int) chart.Estimate {
	return chart.Estimate{
		Label: label,
		Value: scale * float64(x.Value),
		Low:   scale * float64(x.SeqLow),
		High:  scale * float64(x.SeqHigh),
		Color: color,
	}
}

// color returns the color of the i-th comparison; the palette has 1 to 6.
func color(i int) int { return 1 + i%6 }

// curves returns one curve over the days for each comparison, in percent.
func (r *Report) curves(of func(DayPoint) []Range, sequential bool) (out []chart.Series) {
	for i, c := range r.Comparisons {
		s := chart.Series{Name: c.Arm, Color: color(i)}
		for _, d := range r.Series {
			x := of(d)[i]
			p := chart.Point{
				X:    r.dayNumber(d),
				Y:    100 * float64(x.Value),
				Low:  100 * float64(x.Low),
				High: 100 * float64(x.High),
			}
			if sequential {
				p.Low, p.High = 100*float64(x.SeqLow), 100*float64(x.SeqHigh)
			}
			s.Points = append(s.Points, p)
		}
		out = append(out, s)
	}
	return out
}

// dayNumber returns the number of a day in the experiment, from 1.
func (r *Report) dayNumber(d DayPoint) float64 {
	day, err := time.Parse(time.DateOnly, d.Day)
	if err != nil {
		return 0 // impossible: this package wrote it
	}
	return 1 + day.Sub(r.From.Truncate(24*time.Hour)).Hours()/24
}

var noDifference = []chart.Mark{{At: 0, Label: "no difference"}}

func (r *Report) cumulativeFigure() template.HTML {
	return liftFigure("Lift so far, at the end of each day", chart.About{
		Title: "Lift over time",
		Description: "The lift of everything up to the end of each day, in percent, " +
			"with an interval that holds at any look.",
	}, r.curves(func(d DayPoint) []Range { return d.Cumulative }, true))
}

func (r *Report) dailyFigure() template.HTML {
	return liftFigure("Lift of each single day", chart.About{
		Title: "Lift by day",
		Description: "The lift among each day's active users, in percent, with the day's own " +
			"95 % interval. A novelty effect wears off from day to day.",
	}, r.curves(func(d DayPoint) []Range { return d.Lift }, false))
}

// liftFigure draws lifts in percent by day.
func liftFigure(caption string, about chart.About, series []chart.Series) template.HTML {
	return chart.Figure(caption, &chart.Lines{
		About:  about,
		X:      chart.Axis{Label: "day"},
		Y:      chart.Axis{Label: "lift, %", Zero: true},
		Levels: noDifference,
		Series: series,
	})
}

func (r *Report) valueFigure() template.HTML {
	l := &chart.Lines{
		About: chart.About{
			Title:       "Metric by day",
			Description: "The metric among each day's active users, by arm.",
		},
		X: chart.Axis{Label: "day"},
		Y: chart.Axis{Label: r.Metric},
	}
	for i, a := range r.Arms {
		s := chart.Series{Name: a.Name, Color: i % 7}
		for _, d := range r.Series {
			s.Points = append(s.Points, chart.Point{X: r.dayNumber(d), Y: float64(d.Value[i])})
		}
		l.Series = append(l.Series, s)
	}
	return chart.Figure(r.Metric+" by day", l)
}

func (r *Report) liftFigure() template.HTML {
	iv := &chart.Intervals{
		About: chart.About{
			Title: "Lifts",
			Description: "Lift over the control in percent. The interval of all users holds at " +
				"any look, the intervals of segments hold for one look.",
		},
		X:   chart.Axis{Label: "lift, %", Zero: true},
		Ref: &chart.Mark{At: 0, Label: "no difference"},
	}
	for i, c := range r.Comparisons {
		row := intervalRow("all users", c.Lift, 100, color(i))
		row.Group = c.Arm
		iv.Rows = append(iv.Rows, row)
		for _, s := range r.Segments {
			if s.Arm != c.Arm {
				continue
			}
			iv.Rows = append(iv.Rows, chart.Estimate{
				Group: c.Arm,
				Label: s.Name,
				Value: 100 * float64(s.Lift.Value),
				Low:   100 * float64(s.Lift.Low),
				High:  100 * float64(s.Lift.High),
			})
		}
	}
	return chart.Figure("Lift of "+r.Metric, iv)
}

func (r *Report) distributionFigure() template.HTML {
	l := &chart.Lines{
		About: chart.About{
			Title: "Distribution of users",
			Description: "The share of users by their own value of the metric, by arm. " +
				"The last point holds all larger values.",
		},
		X: chart.Axis{Label: r.Metric + " of a " + r.Unit},
		Y: chart.Axis{Label: "users, %", Zero: true},
	}
	for i, a := range r.Arms {
		s := chart.Series{Name: a.Name, Color: i % 7}
		for _, b := range r.Histogram {
			middle := float64(b.From+b.To) / 2
			s.Points = append(s.Points, chart.Point{X: middle, Y: 100 * float64(b.Share[i])})
		}
		l.Series = append(l.Series, s)
	}
	return chart.Figure("Distribution of users' own values", l)
}
