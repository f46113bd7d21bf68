package chart

import (
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// width is the width of a chart in pixels, unless a chart has its own. Two charts fit side by side
// on a desktop, and one is still readable on a phone.
const width = 460

const (
	rowHeight = 22.0
	lineSkip  = 17.0 // between lines of text
	pad       = 8.0
)

// canvas writes one svg element.
type canvas struct {
	b    strings.Builder
	w, h float64
}

func newCanvas(a About, w, h float64) *canvas {
	c := &canvas{w: w, h: h}
	c.open("svg", "class", "chart", "role", "img", "aria-label", a.Title,
		"width", w, "height", h, "viewBox", "0 0 "+coord(w)+" "+coord(h))
	c.words("title", a.Title)
	if a.Description != "" {
		c.words("desc", a.Description)
	}
	return c
}

// open starts an element. attrs are names and values in turn; values are strings or float64.
func (c *canvas) open(name string, attrs ...any) {
	c.b.WriteString("<" + name)
	c.attrs(attrs)
	c.b.WriteString(">")
}

func (c *canvas) attrs(attrs []any) {
	for i := 0; i < len(attrs); i += 2 {
		c.b.WriteString(" " + attrs[i].(string) + `="`)
		switch v := attrs[i+1].(type) {
		case string:
			c.b.WriteString(html.EscapeString(v))
		case float64:
			c.b.WriteString(coord(v))
		}
		c.b.WriteString(`"`)
	}
}

func (c *canvas) close(name string) { c.b.WriteString("</" + name + ">") }

// words writes an element that contains text.
func (c *canvas) words(name, text string) {
	c.open(name)
	c.b.WriteString(html.EscapeString(text))
	c.close(name)
}

// shape writes an element, with a tooltip unless tip is empty.
func (c *canvas) shape(tip, name string, attrs ...any) {
	if tip == "" {
		c.b.WriteString("<" + name)
		c.attrs(attrs)
		c.b.WriteString("/>")
		return
	}
	c.open(name, attrs...)
	c.words("title", tip)
	c.close(name)
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	c.shape("", "line", "class", class, "x1", x1, "y1", y1, "x2", x2, "y2", y2)
}

// text writes s with its baseline at y. It is cut to room pixels; the full text is then in the
// tooltip.
func (c *canvas) text(class string, x, y, room float64, s string) {
	short := truncate(s, room)
	c.open("text", "class", class, "x", x, "y", y)
	c.b.WriteString(html.EscapeString(short))
	if short != s {
		c.words("title", s)
	}
	c.close("text")
}

// done returns the finished element. Every string was escaped when it was written.
func (c *canvas) done() template.HTML {
	c.close("svg")
	return template.HTML(c.b.String())
}

// emptyPicture is the chart of no data.
func emptyPicture(a About) template.HTML {
	c := newCanvas(a, width, 40)
	c.text("dim", pad, 25, width, "nothing to draw")
	return c.done()
}

// coord formats a coordinate with one decimal.
func coord(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10+0, 'f', -1, 64) // +0 turns -0 into 0
}

// textWidth estimates the width of s in pixels at 13 px, since no font is available here.
// Characters of wide scripts take one em, others about half.
func textWidth(s string) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case r >= 0x1100:
			w += 13
		case strings.ContainsRune("mwMW@%", r):
			w += 11
		case strings.ContainsRune("iljtfr.,:;'|! ", r):
			w += 4.5
		default:
			w += 7.4
		}
	}
	return w
}

// truncate shortens s to room pixels and ends it with an ellipsis.
func truncate(s string, room float64) string {
	if textWidth(s) <= room {
		return s
	}
	for len(s) > 0 && textWidth(s)+13 > room {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s + "…"
}

// labelWidth returns the width of a column of labels: as much as the longest needs, at most two
// fifths of w.
func labelWidth(labels []string, w float64) float64 {
	room := 0.0
	for _, l := range labels {
		room = max(room, textWidth(l))
	}
	return min(room+pad, w*2/5)
}

// finite reports whether v can be drawn. Beyond 1e300, differences overflow.
func finite(v float64) bool { return math.Abs(v) <= 1e300 }

// shade returns the class of colour i. Numbers beyond the palette start again.
func shade(i int) string {
	if i > 6 {
		i = (i-1)%6 + 1
	}
	return "c" + strconv.Itoa(max(i, 0))
}
