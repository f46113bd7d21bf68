// Package chart draws the few kinds of picture that Relish's reports need, as inline SVG: curves with
// bands, intervals, bars, reliability, strips, histograms and a flow of boxes.
//
// Every picture is plain data with two readings: SVG for who would rather look, Table for who would
// rather read or cannot see; Figure puts both under one caption. A page includes CSS once in its
// style element. The markup holds no script, no style attribute, no id and no reference to anything
// outside, so that it works under a Content-Security-Policy that allows one style sheet by its hash,
// and the same data always give the same bytes.
//
// Titles, labels and names are user data and escaped here. Values that are not finite are left out
// of the picture and shown as a dash in the table; a picture without any value says so.
// Drawing keeps nothing and is safe for concurrent use.
package chart

import (
	_ "embed"
	"html"
	"html/template"
	"strings"
)

// CSS is the style sheet of the pictures: light, dark and print. It defines the colours as custom
// properties (--ink, --dim, --line, --paper, --c0 to --c6), which a page may use for its own text.
//
//go:embed chart.css
var CSS string

// Chart is one picture.
type Chart interface {
	// SVG returns the picture as one svg element with title and description.
	SVG() template.HTML
	// Table returns the same data in words: column names, and rows of the same length.
	Table() (head []string, rows [][]string)
}

// About names a picture and says in a sentence what it shows, for whom cannot see it.
type About struct {
	Title       string
	Description string
}

// Figure returns a figure element: the title as caption, the picture, and its table folded away.
func Figure(title string, c Chart) template.HTML {
	head, rows := c.Table()
	var b strings.Builder
	b.WriteString("<figure><figcaption>" + html.EscapeString(title) + "</figcaption>" + string(c.SVG()))
	b.WriteString("<details><summary>as a table</summary>")
	writeTable(&b, head, rows)
	b.WriteString("</details></figure>")
	return template.HTML(b.String()) // every string was escaped on its way in
}

// writeTable writes a table whose first column names the row and whose others are values.
func writeTable(b *strings.Builder, head []string, rows [][]string) {
	b.WriteString(`<div class="scroll"><table><thead><tr>`)
	for _, h := range head {
		b.WriteString(`<th scope="col">` + html.EscapeString(h) + "</th>")
	}
	b.WriteString("</tr></thead><tbody>")
	for _, row := range rows {
		for i, cell := range row {
			if i == 0 {
				b.WriteString(`<tr><th scope="row">` + html.EscapeString(cell) + "</th>")
				continue
			}
			b.WriteString("<td>" + html.EscapeString(cell) + "</td>")
		}
		b.WriteString("</tr>")
	}
	b.WriteString("</tbody></table></div>")
}
