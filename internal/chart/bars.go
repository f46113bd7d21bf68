package chart

import "html/template"

// Bar is one row of Bars. Color is as in Series.
type Bar struct {
	Label string
	Value float64
	Color int
}

// Bars is a chart of horizontal bars that start at 0, to the left for negative values.
type Bars struct {
	About
	X    Axis
	Rows []Bar
}

// SVG implements Chart.
func (b *Bars) SVG() template.HTML {
	var values []float64
	var labels []string
	for _, r := range b.Rows {
		values, labels = append(values, r.Value), append(labels, r.Label)
	}
	axis := b.X
	axis.Zero = true
	lo, hi, ok := axis.bounds(values)
	if !ok {
		return emptyPicture(b.About)
	}
	left, bottom := labelWidth(labels, width), 4+rowHeight*float64(len(b.Rows))
	x := scale{lo, hi, left + 6, width - 56}
	c := newCanvas(b.About, width, bottom+b.X.height())
	c.bottomAxis(b.X, x, 4, bottom)
	for i, r := range b.Rows {
		y := 4 + rowHeight*float64(i)
		c.text("", 0, y+rowHeight/2+4, left, r.Label)
		c.text("dim end", width, y+rowHeight/2+4, 56, axisNumber(r.Value, lo, hi))
		if !finite(r.Value) {
			continue
		}
		from, to := x.pixel(min(r.Value, 0)), x.pixel(max(r.Value, 0))
		c.open("g", "class", shade(r.Color))
		c.shape(r.Label+": "+Number(r.Value), "rect", "class", "fill", "x", from, "y", y+4,
			"width", max(to-from, 0.5), "height", rowHeight-8, "rx", 2.0)
		c.close("g")
	}
	return c.done()
}

// Table implements Chart.
func (b *Bars) Table() (head []string, rows [][]string) {
	head = []string{"", b.X.Label}
	for _, r := range b.Rows {
		rows = append(rows, []string{r.Label, Number(r.Value)})
	}
	return head, rows
}

// Histogram shows counts by bin. Bin i has Counts[i] values from Edges[i] to Edges[i+1], so there
// is one more edge than counts. Otherwise nothing is drawn.
type Histogram struct {
	About
	X      Axis
	Edges  []float64
	Counts []float64
	Color  int
}

// valid reports whether the edges ascend and the counts are finite.
func (h *Histogram) valid() bool {
	if len(h.Counts) == 0 || len(h.Edges) != len(h.Counts)+1 {
		return false
	}
	for i, n := range h.Counts {
		from, to := h.Edges[i], h.Edges[i+1]
		if !finite(n) || n < 0 || !finite(from) || !finite(to) || !(to > from) {
			return false
		}
	}
	return true
}

// SVG implements Chart. Bins of unequal width are drawn by their count, not by their density; the
// axis shows the widths.
func (h *Histogram) SVG() template.HTML {
	if !h.valid() {
		return emptyPicture(h.About)
	}
	const height = 110.0
	largest := 0.0
	for _, n := range h.Counts {
		largest = max(largest, n)
	}
	top := lineSkip + 6
	x := scale{h.Edges[0], h.Edges[len(h.Edges)-1], pad, width - pad}
	y := scale{0, max(largest, 1), top + height, top}
	c := newCanvas(h.About, width, top+height+h.X.height())
	c.text("dim", 0, 11, width, "largest bin: "+Number(largest))
	c.bottomAxis(h.X, x, top, top+height)
	c.open("g", "class", shade(h.Color))
	for i, n := range h.Counts {
		from, to := x.pixel(h.Edges[i]), x.pixel(h.Edges[i+1])
		c.shape(h.bin(i)+": "+Number(n), "rect", "class", "fill", "x", from+0.5, "y", y.pixel(n),
			"width", max(to-from-1, 0.5), "height", y.from-y.pixel(n))
	}
	c.close("g")
	return c.done()
}

// bin returns the label of a bin.
func (h *Histogram) bin(i int) string { return Number(h.Edges[i]) + " to " + Number(h.Edges[i+1]) }

// Table implements Chart.
func (h *Histogram) Table() (head []string, rows [][]string) {
	head = []string{h.X.Label, "count"}
	if !h.valid() {
		return head, nil
	}
	for i, n := range h.Counts {
		rows = append(rows, []string{h.bin(i), Number(n)})
	}
	return head, rows
}
