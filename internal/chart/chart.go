// Package chart draws the charts of Relish's reports as inline SVG: curves with bands, intervals,
// bars, histograms, reliability plots, strips, and flows of boxes.
//
// A chart is plain data with two forms: SVG to look at, and Table to read. Figure puts both under
// one caption. A page includes CSS once in its style element.
//
// The markup has no script, no style attribute, no id and no external reference. It works under a
// Content-Security-Policy that allows one style sheet by its hash. The same data always give the
// same bytes.
//
// Titles, labels and names are user data and are escaped here. Values that are not finite are left
// out of the chart and shown as a dash in the table. A chart without any value says so. Drawing
// keeps no state and is safe for concurrent use.
package chart

import (
	_ "embed"
	"html"
	"html/template"
	"strings"
)

// CSS is the style sheet of the charts for light, dark and print. It defines the colours as custom
// properties (--ink, --dim, --line, --paper, --c0 to --c6), which a page may use as well.
//
//go:embed chart.css
var CSS string

// Chart is one chart.
type Chart interface {
	// SVG returns the chart as one svg element with title and description.
	SVG() template.HTML
	// Table returns the same data as text: column names, and rows of the same length.
	Table() (head []string, rows [][]string)
}

// About names a chart and describes in a sentence what it shows, for people who cannot see it.
type About struct {
	Title       string
	Description string
}

// Figure returns a figure element: the title as caption, the chart, and its table, folded.
func Figure(title string, c Chart) template.HTML {
	head, rows := c.Table()
	var b strings.Builder
	b.WriteString("<figure><figcaption>" + html.EscapeString(title) + "</figcaption>")
	b.WriteString(string(c.SVG()))
	b.WriteString("<details><summary>as a table</summary>")
	writeTable(&b, head, rows)
	b.WriteString("</details></figure>")
	return template.HTML(b.String()) // every string is escaped above
}

// writeTable writes a table. The first column names the row, the others hold values.
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
