package chart

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// Point is a point of a curve. It has an interval around Y if Low < High.
type Point struct{ X, Y, Low, High float64 }

// Series is one named curve with points by ascending X. Color is an index of the palette, 1 to 6; 0
// is a muted grey for comparisons.
type Series struct {
	Name   string
	Points []Point
	Color  int
}

// Mark is a labelled reference: a dashed line across the chart.
type Mark struct {
	At    float64
	Label string
}

// Lines is a chart of curves over a common axis, with bands where the points have intervals.
type Lines struct {
	About
	X, Y   Axis
	Series []Series
	Levels []Mark // at values of Y
	Stops  []Mark // at values of X, such as the best iteration
}

const plotHeight = 190.0

// SVG implements Chart.
func (l *Lines) SVG() template.HTML {
	x0, x1, y0, y1, ok := l.spans()
	if !ok {
		return emptyPicture(l.About)
	}
	keys := l.legend()
	top := 6 + lineSkip*float64(len(keys))
	if l.Y.Label != "" {
		top += lineSkip
	}
	ticks, decimals := Ticks(y0, y1, 5)
	left := pad
	for _, t := range ticks {
		left = max(left, textWidth(tickText(t, decimals))+pad)
	}
	x, y := scale{x0, x1, left, width - 2*pad}, scale{y0, y1, top + plotHeight, top + 6}
	c := newCanvas(l.About, width, top+plotHeight+l.X.height())
	c.keys(keys)
	if l.Y.Label != "" {
		c.text("dim", 0, top-4, width, l.Y.Label)
	}
	for _, t := range ticks {
		c.line("grid", x.from, y.pixel(t), x.to, y.pixel(t))
		c.text("dim end", left-5, y.pixel(t)+4, left, tickText(t, decimals))
	}
	c.bottomAxis(l.X, x, top+plotHeight, top+plotHeight)
	l.marks(c, x, y)
	for _, s := range l.Series {
		c.series(s, x, y)
	}
	return c.done()
}

// spans returns the ranges of both axes; ok is false if there is nothing to draw.
func (l *Lines) spans() (x0, x1, y0, y1 float64, ok bool) {
	var xs, ys []float64
	for _, s := range l.Series {
		for _, p := range s.Points {
			if !p.drawn() {
				continue
			}
			xs, ys = append(xs, p.X), append(ys, p.Y)
			if p.banded() {
				ys = append(ys, p.Low, p.High)
			}
		}
	}
	if len(xs) == 0 {
		return 0, 0, 0, 0, false
	}
	for _, m := range l.Levels {
		ys = append(ys, m.At)
	}
	x := l.X
	if x.Min == 0 && x.Max == 0 && slices.Min(xs) < slices.Max(xs) {
		x.Min, x.Max = slices.Min(xs), slices.Max(xs) // curves extend from edge to edge
	}
	x0, x1, _ = x.bounds(xs)
	y0, y1, _ = l.Y.bounds(ys)
	return x0, x1, y0, y1, true
}

// drawn reports whether the point can be drawn, banded whether it has an interval.
func (p Point) drawn() bool  { return finite(p.X) && finite(p.Y) }
func (p Point) banded() bool { return finite(p.Low) && finite(p.High) && p.Low < p.High }

// marks draws the levels and stops.
func (l *Lines) marks(c *canvas, x, y scale) {
	for _, m := range l.Levels {
		if finite(m.At) {
			c.line("ref", x.from, y.pixel(m.At), x.to, y.pixel(m.At))
			c.text("dim end", x.to, y.pixel(m.At)-4, x.to-x.from, m.Label)
		}
	}
	for _, m := range l.Stops {
		if !finite(m.At) || m.At < x.lo || m.At > x.hi {
			continue
		}
		at, class, dx := x.pixel(m.At), "dim", 4.0
		if at > (x.from+x.to)/2 {
			class, dx = "dim end", -4
		}
		c.line("ref", at, y.to, at, y.from)
		c.text(class, at+dx, y.from-5, (x.to-x.from)/2, m.Label)
	}
}

// series draws one curve with its band, and a dot at its last point.
func (c *canvas) series(s Series, x, y scale) {
	var curve, upper, lower []string
	last := Point{X: math.NaN()}
	for _, p := range s.Points {
		if !p.drawn() {
			continue
		}
		curve = append(curve, coord(x.pixel(p.X))+","+coord(y.pixel(p.Y)))
		if p.banded() {
			upper = append(upper, coord(x.pixel(p.X))+","+coord(y.pixel(p.High)))
			lower = append(lower, coord(x.pixel(p.X))+","+coord(y.pixel(p.Low)))
		}
		last = p
	}
	if len(curve) == 0 {
		return
	}
	c.open("g", "class", shade(s.Color))
	if len(upper) > 1 {
		slices.Reverse(lower)
		outline := slices.Concat(upper, lower)
		c.shape("", "polygon", "class", "band", "points", strings.Join(outline, " "))
	}
	if len(curve) > 1 {
		c.shape(s.Name, "polyline", "class", strings.TrimSpace("curve "+dash(s.Color)),
			"points", strings.Join(curve, " "))
	}
	c.shape(s.Name+": "+Number(last.Y), "circle", "class", "fill",
		"cx", x.pixel(last.X), "cy", y.pixel(last.Y), "r", 3.0)
	c.close("g")
}

// dash returns the class of the curve's dash pattern, which distinguishes curves without colours.
func dash(color int) string {
	if color < 2 {
		return ""
	}
	return strings.Replace(shade(color), "c", "d", 1)
}

// legendKey is one entry of a legend with its position.
type legendKey struct {
	name  string
	color int
	x     float64
}

// legend arranges the names of the series in lines. A single series needs no legend.
func (l *Lines) legend() [][]legendKey {
	if len(l.Series) < 2 {
		return nil
	}
	keys := make([]legendKey, len(l.Series))
	for i, s := range l.Series {
		keys[i] = legendKey{name: s.Name, color: s.Color}
	}
	return layKeys(keys)
}

// layKeys breaks the legend into lines that fit the width.
func layKeys(keys []legendKey) [][]legendKey {
	lines, x := [][]legendKey{nil}, 0.0
	for _, k := range keys {
		need := min(textWidth(k.name)+34, width)
		if x+need > width && x > 0 {
			lines, x = append(lines, nil), 0
		}
		k.x = x
		lines[len(lines)-1] = append(lines[len(lines)-1], k)
		x += need
	}
	return lines
}

func (c *canvas) keys(lines [][]legendKey) {
	for i, line := range lines {
		y := 12 + lineSkip*float64(i)
		for _, k := range line {
			c.open("g", "class", shade(k.color))
			c.shape("", "line", "class", strings.TrimSpace("curve "+dash(k.color)),
				"x1", k.x+1, "y1", y-4, "x2", k.x+18, "y2", y-4)
			c.close("g")
			c.text("", k.x+24, y, width-24, k.name)
		}
	}
}

// Table implements Chart: one row for each X, one column for each curve.
func (l *Lines) Table() (head []string, rows [][]string) {
	head = []string{l.X.Label}
	at := map[float64][]string{}
	for i, s := range l.Series {
		head = append(head, s.Name)
		for _, p := range s.Points {
			if !p.drawn() {
				continue
			}
			if at[p.X] == nil {
				at[p.X] = slices.Repeat([]string{"–"}, len(l.Series))
			}
			at[p.X][i] = Number(p.Y)
			if p.banded() {
				at[p.X][i] = interval(p.Y, p.Low, p.High)
			}
		}
	}
	xs := make([]float64, 0, len(at))
	for x := range at {
		xs = append(xs, x)
	}
	slices.Sort(xs)
	for _, x := range xs {
		rows = append(rows, append([]string{Number(x)}, at[x]...))
	}
	return head, rows
}

func interval(v, low, high float64) string {
	return fmt.Sprintf("%s [%s, %s]", Number(v), Number(low), Number(high))
}
