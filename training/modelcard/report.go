// Package report writes the page that says how good a trained bundle is, by how much and why, and what
// to look at before it serves: one self-contained HTML file, part of the bundle.
//
// The training fills Data, which is plain; HTML draws it. Absent parts do not show, so that a training
// of any size has a report. Check finds by rule what deserves a second look. The page needs no script
// and loads nothing: its policy (Policy, also in the page itself) allows its own style sheet by its
// hash and nothing else. It reads in light and dark, on a phone and on paper, and every picture is
// also a table.
package modelcard

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

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
		"number": chart.Number, "fixed": fixed, "signed": signed, "percent": percent, "plural": plural,
		"when": when, "size": size, "seconds": seconds, "count": count,
	}).Parse(pageHTML))
)

// Policy is the Content-Security-Policy under which the page works: nothing but its own style sheet.
func Policy() string {
	sum := sha256.Sum256([]byte(css))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// sections of the page, in order; each is a template of its own name and left out when it writes
// nothing.
var sections = []section{
	{ID: "check", Title: "Before activating"},
	{ID: "flow", Title: "What was trained from what"},
	{ID: "metrics", Title: "How good it is"},
	{ID: "slices", Title: "For whom"},
	{ID: "calibration", Title: "Calibration"},
	{ID: "curves", Title: "Learning curves"},
	{ID: "weights", Title: "What it looks at"},
	{ID: "matchers", Title: "Matchers"},
	{ID: "features", Title: "Features"},
	{ID: "changes", Title: "What changed"},
	{ID: "tables", Title: "More figures"},
	{ID: "log", Title: "Data"},
	{ID: "config", Title: "Configuration"},
	{ID: "stages", Title: "Time and memory"},
}

type section struct {
	ID, Title string
	Body      template.HTML
}

// view is what the templates see.
type view struct {
	*Data
	CSS      template.CSS
	Policy   string
	Checks   []Warning
	Sections []section

	scores     *scoreIndex
	groupNames []string
	colours    map[string]int // group -> colour
}

// HTML writes the page. The same data give the same bytes. It fails only when w does.
func HTML(w io.Writer, d *Data) error {
	v := &view{Data: d, CSS: template.CSS(css), Policy: Policy(), Checks: Check(d), scores: newScoreIndex(d.Scores)}
	v.assignColours()
	for _, s := range sections {
		var b bytes.Buffer
		if err := page.ExecuteTemplate(&b, s.ID, v); err != nil {
			return fmt.Errorf("report section %s: %w", s.ID, err)
		}
		if len(bytes.TrimSpace(b.Bytes())) > 0 {
			s.Body = template.HTML(b.String())
			v.Sections = append(v.Sections, s)
		}
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// assignColours gives each group of features a colour, text always green.
func (v *view) assignColours() {
	v.colours = map[string]int{}
	for _, w := range v.Importances {
		v.colours[w.Group] = 0
	}
	for _, f := range v.Features {
		v.colours[f.Group] = 0
	}
	for g := range v.colours {
		v.groupNames = append(v.groupNames, g)
	}
	slices.Sort(v.groupNames)
	free := []int{1, 4, 5, 3, 6}
	next := 0
	for _, g := range v.groupNames {
		if g == "text" {
			v.colours[g] = 2
			continue
		}
		v.colours[g] = free[next%len(free)]
		next++
	}
}

// keyFigure is one figure of the page's head.
type keyFigure struct{ Name, Value, Note string }

// KeyFigures are the figures that most readers came for.
func (v *view) KeyFigures() (out []keyFigure) {
	if len(v.scores.metrics) > 0 {
		metric := v.scores.metrics[0]
		if s, ok := v.scores.byRole(metric, evaluation.AllLists, RoleThis); ok {
			out = append(out, keyFigure{metric, fixed(s.Value.Mean), "95 %: " + fixed(s.Value.Low) + " to " + fixed(s.Value.High) + ", " + plural(s.Value.N, "list")})
		}
		if s, ok := v.scores.bestBaseline(metric, evaluation.AllLists); ok {
			out = append(out, keyFigure{"Best plain baseline", fixed(s.Value.Mean), s.Scorer})
		}
	}
	for _, d := range v.Differences {
		if d.Against == v.Previous && d.Slice == evaluation.AllLists && d.Value.N > 0 {
			out = append(out, keyFigure{"Against the previous bundle", signed(d.Value.Mean), Conclusion(d)})
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
			note = "at most " + size(peak)
		}
		out = append(out, keyFigure{"Trained in", seconds(total), note})
	}
	return out
}

// Peak is the most memory that any stage used, in bytes.
func (v *view) Peak() uint64 {
	peak := uint64(0)
	for _, s := range v.Stages {
		peak = max(peak, s.PeakBytes)
	}
	return peak
}

// Conclusion says in words what a paired difference shows.
func Conclusion(d Difference) string {
	switch {
	case d.Value.Low > 0:
		return "better"
	case d.Value.High < 0:
		return "worse"
	}
	return "not told apart"
}

// Metrics names the columns of the score tables.
func (v *view) Metrics() []string { return v.scores.metrics }

// AllLists says whether there is a score over all lists.
func (v *view) AllLists() bool { return len(v.scores.table(evaluation.AllLists)) > 0 }

// Slices names the parts of the lists that have scores of their own.
func (v *view) Slices() []string { return v.scores.partSlices() }

// ScoreTable is the score table of a slice; "" means all lists.
func (v *view) ScoreTable(slice string) scoreTable {
	if slice == "" {
		slice = evaluation.AllLists
	}
	return scoreTable{v.scores.metrics, v.scores.table(slice)}
}

type scoreTable struct {
	Metrics []string
	Rows    []scoreRow
}

// differences are the paired differences on all lists, or on parts of them.
func (v *view) differences(parts bool) (out []Difference) {
	for _, d := range v.Differences {
		if d.Value.N > 0 && (d.Slice != evaluation.AllLists) == parts {
			out = append(out, d)
		}
	}
	return out
}

// Conclusions are the paired differences with their verdict.
func (v *view) Conclusions(parts bool) (out []concludedDifference) {
	for _, d := range v.differences(parts) {
		out = append(out, concludedDifference{d, Conclusion(d)})
	}
	return out
}

type concludedDifference struct {
	Difference
	Conclusion string
}

// Parity is the share of differing matrices in words.
func (v *view) Parity() string {
	if v.Log == nil || v.Log.ParityChecked == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s logged matrices differ from the replay's (%s).", count(v.Log.ParityDiffering),
		count(v.Log.ParityChecked), percent(float64(v.Log.ParityDiffering)/float64(v.Log.ParityChecked)))
}

func fixed(x float64) string { return strconv.FormatFloat(x, 'f', 3, 64) }

func signed(x float64) string { return fmt.Sprintf("%+.3f", x) }

func percent(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return strconv.FormatFloat(100*x, 'f', 1, 64) + " %"
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return count(n) + " " + noun
}

func count(n int) string { return message.NewPrinter(language.English).Sprint(n) }

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func seconds(s float64) string {
	if s < 60 {
		return chart.Number(s) + " s"
	}
	whole := int(math.Round(s))
	if whole < 3600 {
		return fmt.Sprintf("%d min %d s", whole/60, whole%60)
	}
	return fmt.Sprintf("%d h %d min", whole/3600, whole%3600/60)
}

func size(b uint64) string {
	if b < 1<<30 {
		return chart.Number(float64(b)/(1<<20)) + " MiB"
	}
	return chart.Number(float64(b)/(1<<30)) + " GiB"
}
