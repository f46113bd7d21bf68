package chart

import (
	"fmt"
	"html/template"
	"math"
)

// Bin is one point of a reliability plot: N predictions with mean Predicted, of which the share
// Observed came true. It has an interval if Low < High.
type Bin struct {
	Predicted, Observed float64
	Low, High           float64
	N                   int
}

// Reliability compares predicted probabilities with outcomes. Calibrated predictions are on the
// diagonal (DeGroot and Fienberg, The comparison and evaluation of forecasters, The Statistician
// 1983).
type Reliability struct {
	About
	Bins []Bin
}

// SVG implements Chart. Both axes have the same range, so that calibrated predictions are on the
// diagonal.
func (r *Reliability) SVG() template.HTML {
	largest := 0.0
	for _, b := range r.Bins {
		for _, v := range []float64{b.Predicted, b.Observed, b.High} {
			if finite(v) {
				largest = max(largest, v)
			}
		}
	}
	if largest == 0 {
		return emptyPicture(r.About)
	}
	largest = min(largest*1.05, max(1, largest))
	const side, left, top = 260.0, 44.0, 10 + lineSkip
	x, y := scale{0, largest, left, left + side}, scale{0, largest, top + side, top}
	axis := Axis{Label: "predicted"}
	c := newCanvas(r.About, left+side+pad*2, top+side+axis.height())
	c.text("dim", 0, 12, side, "observed")
	ticks, decimals := Ticks(0, largest, 4)
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

// bin draws one point with its interval.
func (c *canvas) bin(b Bin, x, y scale) {
	if !finite(b.Predicted) || !finite(b.Observed) {
		return
	}
	if finite(b.Low) && finite(b.High) && b.Low < b.High {
		at := x.pixel(b.Predicted)
		c.line("whisker", at, y.pixel(b.Low), at, y.pixel(b.High))
	}
	tip := fmt.Sprintf("predicted %s, observed %s, %s times",
		Number(b.Predicted), Number(b.Observed), Number(float64(b.N)))
	c.shape(tip, "circle", "class", "fill",
		"cx", x.pixel(b.Predicted), "cy", y.pixel(b.Observed), "r", 4.0)
}

// Table implements Chart.
func (r *Reliability) Table() (head []string, rows [][]string) {
	for _, b := range r.Bins {
		observed := Number(b.Observed)
		if b.Low < b.High {
			observed = interval(b.Observed, b.Low, b.High)
		}
		gap := math.Abs(b.Predicted - b.Observed)
		rows = append(rows, []string{
			Number(b.Predicted), observed, Number(gap), Number(float64(b.N)),
		})
	}
	return []string{"predicted", "observed", "gap", "count"}, rows
}
