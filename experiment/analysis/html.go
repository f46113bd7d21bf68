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

type pageTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

// WriteHTML writes the report as one self-contained page: no script, nothing loaded, and a policy that
// allows its own style sheet only.
func (r *Report) WriteHTML(w io.Writer) error {
	css := chart.CSS + pageCSS
	sum := sha256.Sum256([]byte(css))
	view := struct {
		Report   *Report
		Headline string
		CSS      template.CSS
		Policy   string
		Mood     string
		Figures  []template.HTML
		Tables   []pageTable
		Notes    []string
	}{
		Report: r, Headline: r.headline(), CSS: template.CSS(css), Notes: r.notes(), Figures: r.figures(),
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		Mood:   map[Action]string{Ship: "good", KeepRunning: "warn"}[r.Decision.Action],
	}
	if view.Mood == "" {
		view.Mood = "bad"
	}
	for _, g := range r.tables() {
		view.Tables = append(view.Tables, pageTable{g.title, g.head, g.rows})
	}
	return page.Execute(w, view)
}

// figures are the report's pictures.
func (r *Report) figures() []template.HTML {
	if in := r.Interleaving; in != nil {
		return []template.HTML{chart.Figure("Whose items are clicked", &chart.Intervals{
			About: chart.About{Title: "Preference", Description: "Mean over voters of the second arm's share of clicks less the first's; the interval holds at any look."},
			X:     chart.Axis{Label: "preference for " + in.Arms[1], Zero: true}, Ref: &chart.Mark{At: 0, Label: "no preference"},
			Rows: []chart.Estimate{intervalRow(in.Arms[1], in.Preference, 1, 1)},
		})}
	}
	if len(r.Series) == 0 {
		return []template.HTML{r.liftFigure()}
	}
	return []template.HTML{r.cumulativeFigure(), r.liftFigure(), r.valueFigure(), r.dailyFigure(), r.distributionFigure()}
}

// intervalRow is a row of a picture, with the interval that holds at any look.
func intervalRow(label string, x Range, scale float64, color int) chart.Estimate {
	return chart.Estimate{Label: label, Value: scale * float64(x.Value), Low: scale * float64(x.SeqLow), High: scale * float64(x.SeqHigh), Color: color}
}

// curves draws one curve for each comparison.
func (r *Report) curves(of func(DayPoint) []Range, sequential bool) (out []chart.Series) {
	for i, c := range r.Comparisons {
		s := chart.Series{Name: c.Arm, Color: color(i)}
		for _, d := range r.Series {
			x := of(d)[i]
			p := chart.Point{X: r.dayNumber(d), Y: 100 * float64(x.Value), Low: 100 * float64(x.Low), High: 100 * float64(x.High)}
			if sequential {
				p.Low, p.High = 100*float64(x.SeqLow), 100*float64(x.SeqHigh)
			}
			s.Points = append(s.Points, p)
		}
		out = append(out, s)
	}
	return out
}

// color is the i-th of the palette, which has 1 to 6.
func color(i int) int { return 1 + i%6 }

// dayNumber counts the experiment's days from 1.
func (r *Report) dayNumber(d DayPoint) float64 {
	at, err := time.Parse(time.DateOnly, d.Day)
	if err != nil {
		return 0 // written by this package
	}
	return 1 + at.Sub(r.From.Truncate(24*time.Hour)).Hours()/24
}

var noDifference = []chart.Mark{{At: 0, Label: "no difference"}}

func (r *Report) cumulativeFigure() template.HTML {
	return chart.Figure("Lift so far, as it stood at each day's end", &chart.Lines{
		About: chart.About{Title: "Lift over time", Description: "The lift of everything up to each day's end, in percent, with the interval that holds at any look."},
		X:     chart.Axis{Label: "day"}, Y: chart.Axis{Label: "lift, %", Zero: true}, Levels: noDifference,
		Series: r.curves(func(d DayPoint) []Range { return d.Cumulative }, true),
	})
}

func (r *Report) dailyFigure() template.HTML {
	return chart.Figure("Lift of each day alone", &chart.Lines{
		About: chart.About{Title: "Lift by day", Description: "The lift among each day's active users, in percent, with its own 95 % interval. A novelty wears off."},
		X:     chart.Axis{Label: "day"}, Y: chart.Axis{Label: "lift, %", Zero: true}, Levels: noDifference,
		Series: r.curves(func(d DayPoint) []Range { return d.Lift }, false),
	})
}

func (r *Report) valueFigure() template.HTML {
	l := &chart.Lines{About: chart.About{Title: "Metric by day", Description: "The metric among each day's active users, by arm."},
		X: chart.Axis{Label: "day"}, Y: chart.Axis{Label: r.Metric}}
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
	iv := &chart.Intervals{About: chart.About{Title: "Lifts", Description: "Lift over the control in percent. All users: the interval that holds at any look; segments: at one look."},
		X: chart.Axis{Label: "lift, %", Zero: true}, Ref: &chart.Mark{At: 0, Label: "no difference"}}
	for i, c := range r.Comparisons {
		row := intervalRow("all users", c.Lift, 100, color(i))
		row.Group = c.Arm
		iv.Rows = append(iv.Rows, row)
		for _, s := range r.Segments {
			if s.Arm == c.Arm {
				iv.Rows = append(iv.Rows, chart.Estimate{Group: c.Arm, Label: s.Name, Value: 100 * float64(s.Lift.Value), Low: 100 * float64(s.Lift.Low), High: 100 * float64(s.Lift.High)})
			}
		}
	}
	return chart.Figure("Lift of "+r.Metric, iv)
}

func (r *Report) distributionFigure() template.HTML {
	l := &chart.Lines{About: chart.About{Title: "Spread", Description: "The share of users by their own value of the metric, by arm. The last place holds all larger ones."},
		X: chart.Axis{Label: r.Metric + " of a " + r.Unit}, Y: chart.Axis{Label: "users, %", Zero: true}}
	for i, a := range r.Arms {
		s := chart.Series{Name: a.Name, Color: i % 7}
		for _, b := range r.Histogram {
			s.Points = append(s.Points, chart.Point{X: float64(b.From+b.To) / 2, Y: 100 * float64(b.Share[i])})
		}
		l.Series = append(l.Series, s)
	}
	return chart.Figure("How users are spread", l)
}
