package chart

import (
	"html/template"
	"math"
	"slices"
)

// Grain is one point of a strip. Level, 0 to 1, sets its colour from low to high; NaN is grey.
type Grain struct{ X, Level float64 }

// Strip is one row of Strips.
type Strip struct {
	Label  string
	Grains []Grain
}

// Strips shows how values are distributed: a row of points each, stacked where they are dense (a
// beeswarm). With levels, it shows in which direction a feature moves a score. Some hundred points
// a row are enough; more only enlarge the page.
type Strips struct {
	About
	X    Axis
	Rows []Strip
	Low  string // legend of the colours; "" is no legend
	High string
}

const (
	stripHeight = 34.0
	grainSize   = 2.0
)

// SVG implements Chart.
func (s *Strips) SVG() template.HTML {
	var values []float64
	var labels []string
	for _, r := range s.Rows {
		labels = append(labels, r.Label)
		for _, g := range r.Grains {
			values = append(values, g.X)
		}
	}
	lo, hi, ok := s.X.bounds(values)
	if !ok {
		return emptyPicture(s.About)
	}
	top := 4.0
	if s.Low != "" {
		top += lineSkip
	}
	left, bottom := labelWidth(labels, width), top+stripHeight*float64(len(s.Rows))
	x := scale{lo, hi, left + 6, width - pad}
	c := newCanvas(s.About, width, bottom+s.X.height())
	s.legend(c)
	c.bottomAxis(s.X, x, top, bottom)
	if lo < 0 && hi > 0 {
		c.line("ref", x.pixel(0), top, x.pixel(0), bottom)
	}
	for i, r := range s.Rows {
		y := top + stripHeight*(float64(i)+0.5)
		c.text("", 0, y+4, left, r.Label)
		c.grains(r.Grains, x, y)
	}
	return c.done()
}

// legend draws the meaning of the colours.
func (s *Strips) legend(c *canvas) {
	if s.Low == "" {
		return
	}
	at := 0.0
	for _, k := range []struct {
		class, name string
	}{{levelClass(0), s.Low}, {levelClass(1), s.High}, {levelClass(math.NaN()), "missing"}} {
		c.open("g", "class", k.class)
		c.shape("", "circle", "class", "fill", "cx", at+4, "cy", 8.0, "r", 4.0)
		c.close("g")
		c.text("dim", at+13, 12, width, k.name)
		at += textWidth(k.name) + 30
	}
}

// levelClass returns the colour of a level, one for each third of the range.
func levelClass(level float64) string {
	switch {
	case math.IsNaN(level):
		return "c0"
	case level < 1.0/3:
		return "c1"
	case level < 2.0/3:
		return "c5"
	default:
		return "c3"
	}
}

// grains stacks the points of one pixel column to both sides of the row's middle, and more closely
// if they would leave the row.
func (c *canvas) grains(gs []Grain, x scale, y float64) {
	columns := map[int][]Grain{}
	tallest := 0
	for _, g := range gs {
		if finite(g.X) {
			at := int(x.pixel(g.X) / (2 * grainSize))
			columns[at] = append(columns[at], g)
			tallest = max(tallest, len(columns[at]))
		}
	}
	at := make([]int, 0, len(columns))
	for k := range columns {
		at = append(at, k)
	}
	slices.Sort(at)
	gap := min(2*grainSize, (stripHeight-6)/float64(max(tallest, 1)))
	byClass := map[string][][2]float64{}
	for _, k := range at {
		column := columns[k]
		slices.SortStableFunc(column, func(a, b Grain) int {
			return compareNaNFirst(a.Level, b.Level)
		})
		for i, g := range column {
			offset := float64(i) - float64(len(column)-1)/2
			class := levelClass(g.Level)
			at := [2]float64{2 * grainSize * (float64(k) + 0.5), y - offset*gap}
			byClass[class] = append(byClass[class], at)
		}
	}
	for _, class := range []string{"c0", "c1", "c5", "c3"} {
		if len(byClass[class]) == 0 {
			continue
		}
		c.open("g", "class", class)
		for _, p := range byClass[class] {
			c.shape("", "circle", "class", "grain", "cx", p[0], "cy", p[1], "r", grainSize)
		}
		c.close("g")
	}
}

// compareNaNFirst orders numbers, NaN first.
func compareNaNFirst(a, b float64) int {
	switch {
	case a < b || math.IsNaN(a) && !math.IsNaN(b):
		return -1
	case a > b || math.IsNaN(b) && !math.IsNaN(a):
		return 1
	}
	return 0
}

// Table implements Chart: quantiles of each row.
func (s *Strips) Table() (head []string, rows [][]string) {
	for _, r := range s.Rows {
		var xs []float64
		for _, g := range r.Grains {
			if finite(g.X) {
				xs = append(xs, g.X)
			}
		}
		slices.Sort(xs)
		row := []string{r.Label, Number(float64(len(xs)))}
		for _, q := range []float64{0, 0.25, 0.5, 0.75, 1} {
			if len(xs) == 0 {
				row = append(row, "–")
				continue
			}
			row = append(row, Number(xs[int(q*float64(len(xs)-1)+0.5)]))
		}
		rows = append(rows, row)
	}
	head = []string{
		"", "points", "minimum", "lower quartile", "median", "upper quartile", "maximum",
	}
	return head, rows
}
