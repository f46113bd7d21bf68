package chart

import (
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Width of a picture in pixels, unless it says otherwise: two stand side by side on a desk, and one
// on a phone is shrunk to no less than readable.
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
	c.open("svg", "class", "chart", "role", "img", "aria-label", a.Title, "width", w, "height", h, "viewBox", "0 0 "+coord(w)+" "+coord(h))
	c.words("title", a.Title)
	if a.Description != "" {
		c.words("desc", a.Description)
	}
	return c
}

// open starts an element; attrs are names and values in turn, values strings or float64.
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

func (c *canvas) words(name, text string) {
	c.open(name)
	c.b.WriteString(html.EscapeString(text))
	c.close(name)
}

// shape writes an element with a tip that a pointer shows, if tip is not empty.
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

// text writes s with its baseline at y, cut to room pixels; what was cut is in the tip.
func (c *canvas) text(class string, x, y, room float64, s string) {
	short := truncate(s, room)
	c.open("text", "class", class, "x", x, "y", y)
	c.b.WriteString(html.EscapeString(short))
	if short != s {
		c.words("title", s)
	}
	c.close("text")
}

// done returns the finished element. Every string was escaped on its way in.
func (c *canvas) done() template.HTML {
	c.close("svg")
	return template.HTML(c.b.String())
}

// emptyPicture is the picture of no data.
func emptyPicture(a About) template.HTML {
	c := newCanvas(a, width, 40)
	c.text("dim", pad, 25, width, "nothing to draw")
	return c.done()
}

func coord(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10+0, 'f', -1, 64) // +0 turns -0 into 0
}

// textWidth estimates the pixels that s takes at 13 px: there is no font here to ask. Wide scripts
// take a whole em, others a little over half.
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

// truncate shortens s to room pixels, with an ellipsis where something is gone.
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

// labelWidth is the width of a column of labels: what the longest needs, at most two fifths of w.
func labelWidth(labels []string, w float64) float64 {
	room := 0.0
	for _, l := range labels {
		room = max(room, textWidth(l))
	}
	return min(room+pad, w*2/5)
}

// finite says whether v can be drawn; beyond 1e300 differences overflow.
func finite(v float64) bool { return math.Abs(v) <= 1e300 }

// shade returns the class of colour i, in turn where there are more than the palette has.
func shade(i int) string {
	if i > 6 {
		i = (i-1)%6 + 1
	}
	return "c" + strconv.Itoa(max(i, 0))
}
