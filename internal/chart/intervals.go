package chart

import (
	"html/template"
)

// Estimate is one row of Intervals: a value with its interval. There is no interval if Low or High
// is not finite or if they are equal. Consecutive rows of one Group are under a heading.
type Estimate struct {
	Group, Label     string
	Value, Low, High float64
	Note             string // shown in the tooltip and in the table
	Color            int    // as in Series
}

// Intervals is a forest plot: estimates below each other on one axis.
type Intervals struct {
	About
	X    Axis
	Rows []Estimate
	Ref  *Mark // what the estimates are compared with, such as no difference; may be nil
}

// SVG implements Chart.
func (iv *Intervals) SVG() template.HTML {
	var values []float64
	var labels []string
	groups, seen := 0, ""
	for _, r := range iv.Rows {
		values = append(values, r.Value, r.Low, r.High)
		labels = append(labels, r.Label)
		if r.Group != seen {
			seen = r.Group
			groups++
		}
	}
	if iv.Ref != nil {
		values = append(values, iv.Ref.At)
	}
	lo, hi, ok := iv.X.bounds(values)
	if !ok || len(iv.Rows) == 0 {
		return emptyPicture(iv.About)
	}
	left, right, top := labelWidth(labels, width), 56.0, 4.0
	if iv.Ref != nil && iv.Ref.Label != "" {
		top += lineSkip
	}
	bottom := top + rowHeight*float64(len(iv.Rows)+groups)
	x := scale{lo, hi, left + 6, width - right}
	c := newCanvas(iv.About, width, bottom+iv.X.height())
	c.bottomAxis(iv.X, x, top, bottom)
	if iv.Ref != nil {
		at := x.pixel(iv.Ref.At)
		c.line("ref", at, top, at, bottom)
		c.text("dim mid", min(max(at, x.from+30), x.to-30), top-5, x.to-x.from, iv.Ref.Label)
	}
	y, seen := top+rowHeight/2, ""
	for _, r := range iv.Rows {
		if r.Group != seen {
			seen = r.Group
			c.text("strong", 0, y+4, width, r.Group)
			y += rowHeight
		}
		c.estimate(r, left, x, y)
		y += rowHeight
	}
	return c.done()
}

// estimate draws one row at height y.
func (c *canvas) estimate(r Estimate, left float64, x scale, y float64) {
	c.text("", 0, y+4, left, r.Label)
	c.text("dim end", c.w, y+4, 56, axisNumber(r.Value, x.lo, x.hi))
	if !finite(r.Value) {
		return
	}
	tip := r.Label + ": " + r.text()
	if r.Note != "" {
		tip += ", " + r.Note
	}
	c.open("g", "class", shade(r.Color))
	c.words("title", tip)
	if r.bounded() {
		c.line("whisker", x.pixel(r.Low), y, x.pixel(r.High), y)
		c.line("whisker", x.pixel(r.Low), y-4, x.pixel(r.Low), y+4)
		c.line("whisker", x.pixel(r.High), y-4, x.pixel(r.High), y+4)
	}
	c.shape("", "circle", "class", "fill", "cx", x.pixel(r.Value), "cy", y, "r", 4.0)
	c.close("g")
}

// bounded reports whether the estimate has an interval.
func (e Estimate) bounded() bool { return finite(e.Low) && finite(e.High) && e.Low < e.High }

func (e Estimate) text() string {
	if e.bounded() {
		return interval(e.Value, e.Low, e.High)
	}
	return Number(e.Value)
}

// Table implements Chart.
func (iv *Intervals) Table() (head []string, rows [][]string) {
	grouped, noted := false, false
	for _, r := range iv.Rows {
		grouped, noted = grouped || r.Group != "", noted || r.Note != ""
	}
	name := iv.X.Label
	if name == "" {
		name = "value"
	}
	head = []string{""}
	if grouped {
		head = append(head, "group")
	}
	head = append(head, name+" [95 %]")
	if noted {
		head = append(head, "note")
	}
	for _, r := range iv.Rows {
		row := []string{r.Label}
		if grouped {
			row = append(row, r.Group)
		}
		row = append(row, r.text())
		if noted {
			row = append(row, r.Note)
		}
		rows = append(rows, row)
	}
	return head, rows
}
