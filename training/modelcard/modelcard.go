// Package modelcard writes the model card of a bundle: one self-contained HTML page that says how
// good the bundle is, what it was trained on, and what to check before it serves.
//
// The training fills Data, and HTML draws it. The page omits absent parts, so that a training of
// any size has a model card. Check derives warnings from the data by fixed rules.
//
// The page needs no script and loads nothing. Its Content-Security-Policy (Policy, also in the
// page itself) allows only its own style sheet, by its hash. The page works in light and dark, on
// a phone and in print, and every chart is also a table.
package modelcard

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"

	"relish/evaluation"
	"relish/internal/chart"
)

var (
	//go:embed page.css
	pageCSS string
	//go:embed page.html
	pageHTML string

	css  = chart.CSS + pageCSS
	page = template.Must(template.New("page").Funcs(template.FuncMap{
		"number": chart.Number, "fixed": formatFixed, "signed": formatSigned,
		"percent": formatPercent, "plural": formatPlural, "count": formatCount,
		"when": formatTime, "size": formatBytes, "seconds": formatSeconds,
	}).Parse(pageHTML))
)

// Policy returns the Content-Security-Policy of the page. It allows nothing but the page's own
// style sheet.
func Policy() string {
	sum := sha256.Sum256([]byte(css))
	return "default-src 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// section is one part of the page. Its template has the name ID.
type section struct {
	ID, Title string
	Body      template.HTML
}

// sections of the page, in order. A section whose template writes nothing is left out.
var sections = []section{
	{ID: "check", Title: "Before you activate it"},
	{ID: "flow", Title: "What was trained on what"},
	{ID: "metrics", Title: "Ranking quality"},
	{ID: "slices", Title: "Quality by slice"},
	{ID: "calibration", Title: "Calibration"},
	{ID: "curves", Title: "Learning curves"},
	{ID: "importance", Title: "Feature importance"},
	{ID: "signals", Title: "Signals"},
	{ID: "features", Title: "Features"},
	{ID: "changes", Title: "Changes"},
	{ID: "tables", Title: "More figures"},
	{ID: "log", Title: "Data"},
	{ID: "config", Title: "Configuration"},
	{ID: "stages", Title: "Time and memory"},
}

// view is the data that the templates see.
type view struct {
	*Data
	CSS      template.CSS
	Policy   string
	Checks   []Warning
	Sections []section

	scores     *scoreIndex
	groupNames []string
	colours    map[string]int // feature group -> chart colour
}

// HTML writes the page. The same data give the same bytes. It fails only if w fails.
func HTML(w io.Writer, d *Data) error {
	v := &view{
		Data: d, CSS: template.CSS(css), Policy: Policy(), Checks: Check(d),
		scores: newScoreIndex(d.Scores),
	}
	v.assignColours()
	for _, s := range sections {
		var b bytes.Buffer
		if err := page.ExecuteTemplate(&b, s.ID, v); err != nil {
			return fmt.Errorf("model card section %s: %w", s.ID, err)
		}
		if len(bytes.TrimSpace(b.Bytes())) > 0 {
			s.Body = template.HTML(b.String())
			v.Sections = append(v.Sections, s)
		}
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("model card: %w", err)
	}
	return nil
}

// assignColours gives each group of features a colour. The group "text" is always green.
func (v *view) assignColours() {
	v.colours = map[string]int{}
	for _, i := range v.Importances {
		v.colours[i.Group] = 0
	}
	for _, f := range v.Features {
		v.colours[f.Group] = 0
	}
	for group := range v.colours {
		v.groupNames = append(v.groupNames, group)
	}
	slices.Sort(v.groupNames)
	palette := []int{1, 4, 5, 3, 6}
	used := 0
	for _, group := range v.groupNames {
		if group == "text" {
			v.colours[group] = 2
			continue
		}
		v.colours[group] = palette[used%len(palette)]
		used++
	}
}

// keyFigure is one figure at the top of the page.
type keyFigure struct{ Name, Value, Note string }

// KeyFigures returns the figures that most readers look for.
func (v *view) KeyFigures() (out []keyFigure) {
	if len(v.scores.metrics) > 0 {
		metric := v.scores.metrics[0]
		if s, ok := v.scores.byRole(metric, evaluation.AllLists, RoleThis); ok {
			note := formatPlural(s.Value.N, "list") + ", too few for an interval"
			if s.Value.IsBounded() {
				note = fmt.Sprintf("95 %%: %s to %s, %s", formatFixed(s.Value.Low),
					formatFixed(s.Value.High), formatPlural(s.Value.N, "list"))
			}
			out = append(out, keyFigure{metric, formatFixed(s.Value.Mean), note})
		}
		if s, ok := v.scores.bestBaseline(metric, evaluation.AllLists); ok {
			out = append(out, keyFigure{"Best baseline", formatFixed(s.Value.Mean), s.Scorer})
		}
	}
	for _, d := range v.Differences {
		if d.Against == v.Previous && d.Slice == evaluation.AllLists && d.Value.N > 0 {
			out = append(out, keyFigure{
				"Against the previous bundle", formatSigned(d.Value.Mean), d.Value.Verdict(),
			})
			break
		}
	}
	total := 0.0
	for _, s := range v.Stages {
		total += s.Seconds
	}
	if total > 0 {
		note := ""
		if peak := v.Peak(); peak > 0 {
			note = "at most " + formatBytes(peak)
		}
		out = append(out, keyFigure{"Trained in", formatSeconds(total), note})
	}
	return out
}

// Peak returns the peak memory of the training, in bytes.
func (v *view) Peak() uint64 {
	peak := uint64(0)
	for _, s := range v.Stages {
		peak = max(peak, s.PeakBytes)
	}
	return peak
}

// PairedDifferences returns the differences on all lists, or those on the other slices.
func (v *view) PairedDifferences(bySlice bool) (out []Difference) {
	for _, d := range v.Differences {
		if d.Value.N > 0 && (d.Slice != evaluation.AllLists) == bySlice {
			out = append(out, d)
		}
	}
	return out
}

// Parity says in words how many logged matrices differ from the replay, "" if none was checked.
func (v *view) Parity() string {
	if v.Log == nil || v.Log.ParityChecked == 0 {
		return ""
	}
	share := float64(v.Log.ParityDiffering) / float64(v.Log.ParityChecked)
	return fmt.Sprintf("%s of %s logged feature matrices differ from their replay (%s).",
		formatCount(v.Log.ParityDiffering), formatCount(v.Log.ParityChecked), formatPercent(share))
}
