package chart

import (
	"html/template"
	"math"
)

// Bin is one point of a reliability plot: N predictions of mean Predicted came true with rate
// Observed, which has an interval where Low < High.
type Bin struct {
	Predicted, Observed float64
	Low, High           float64
	N                   int
}

// Reliability compares predicted probabilities with what happened: on the diagonal they agree
// (DeGroot and Fienberg 1983).
type Reliability struct {
	About
	Bins []Bin
}

// SVG implements Chart. Both axes run from 0 to the same round number, so that the diagonal is one.
func (r *Reliability) SVG() template.HTML {
	most := 0.0
	for _, b := range r.Bins {
		for _, v := range []float64{b.Predicted, b.Observed, b.High} {
			if finite(v) {
				most = max(most, v)
			}
		}
	}
	if most == 0 {
		return emptyPicture(r.About)
	}
	most = min(most*1.05, max(1, most))
	const side, left, top = 260.0, 44.0, 10 + lineSkip
	x, y := scale{0, most, left, left + side}, scale{0, most, top + side, top}
	axis := Axis{Label: "predicted"}
	c := newCanvas(r.About, left+side+pad*2, top+side+axis.height())
	c.text("dim", 0, 12, side, "observed")
	ticks, decimals := Ticks(0, most, 4)
	for _, t := range ticks {
		c.line("grid", x.from, y.pixel(t), x.to, y.pixel(t))
		c.text("dim end", left-5, y.pixel(t)+4, left, tickText(t, decimals))
	}
	c.bottomAxis(axis, x, top, top+side)
	c.line("ref", x.from, y.from, x.to, y.to)
	c.open("g", "class", "c1")
	for _, b := range r.Bins {
		c.bin(b, x, y)
	}
	c.close("g")
	return c.done()
}

func (c *canvas) bin(b Bin, x, y scale) {
	if !finite(b.Predicted) || !finite(b.Observed) {
		return
	}
	if finite(b.Low) && finite(b.High) && b.Low < b.High {
		c.line("whisker", x.pixel(b.Predicted), y.pixel(b.Low), x.pixel(b.Predicted), y.pixel(b.High))
	}
	tip := "predicted " + Number(b.Predicted) + ", observed " + Number(b.Observed) + ", " + Number(float64(b.N)) + " times"
	c.shape(tip, "circle", "class", "fill", "cx", x.pixel(b.Predicted), "cy", y.pixel(b.Observed), "r", 4.0)
}

// Table implements Chart.
func (r *Reliability) Table() (head []string, rows [][]string) {
	for _, b := range r.Bins {
		observed := Number(b.Observed)
		if b.Low < b.High {
			observed = interval(b.Observed, b.Low, b.High)
		}
		gap := math.Abs(b.Predicted - b.Observed)
		rows = append(rows, []string{Number(b.Predicted), observed, Number(gap), Number(float64(b.N))})
	}
	return []string{"predicted", "observed", "gap", "count"}, rows
}
