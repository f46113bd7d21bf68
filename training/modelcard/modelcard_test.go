package modelcard_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"relish/evaluation"
	"relish/internal/stats"
	"relish/training/modelcard"
)

var update = flag.Bool(
	"update",
	false,
	"rewrite the golden page; look at it in a browser before you commit it",
)

func render(t *testing.T, d *modelcard.Data) string {
	t.Helper()
	var b bytes.Buffer
	if err := modelcard.HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	const path = "testdata/modelcard.html"
	got := render(t, full())
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf(
			"the page changed; if that is intended, run with -update and look at it:\n%s",
			diff,
		)
	}
}

// The elements and attributes that the page may have. None of them loads, runs or sends anything.
const (
	elements = " html head meta title style body header h1 span p dl div dt dd nav a main " +
		"section h2 h3 footer code b br ul li table thead tbody tr th td figure figcaption " +
		"details summary svg g desc line text circle rect polyline polygon path "
	attrs = " lang charset name content http-equiv id class href scope aria-label " +
		"aria-labelledby role width height viewBox x y x1 x2 y1 y2 cx cy r rx d points open "
)

// The page is one file that loads nothing and runs nothing. It has only harmless elements and
// attributes, links that stay on the page, and one style element whose hash the policy names.
func TestSelfContained(t *testing.T) {
	for name, d := range map[string]*modelcard.Data{
		"full": full(), "hostile": hostile(), "empty": {},
	} {
		page := render(t, d)
		for z := html.NewTokenizer(strings.NewReader(page)); z.Next() != html.ErrorToken; {
			token := z.Token()
			if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
				continue
			}
			if !strings.Contains(elements, " "+token.Data+" ") {
				t.Errorf("%s: element %s", name, token)
			}
			for _, a := range token.Attr {
				if !strings.Contains(strings.ToLower(attrs), " "+a.Key+" ") {
					t.Errorf("%s: attribute %s of %s", name, a.Key, token.Data)
				}
				if id, inside := strings.CutPrefix(a.Val, "#"); a.Key == "href" &&
					(!inside || !strings.Contains(page, `id="`+id+`"`)) {
					t.Errorf("%s: a link leads to %q, which is not on the page", name, a.Val)
				}
			}
		}
		if m := regexp.MustCompile(`(?i)url\(|@import|https?:`).FindString(page); m != "" {
			t.Errorf("%s: holds %q", name, m)
		}
		styles := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(page, -1)
		if len(styles) != 1 {
			t.Fatalf("%s: %d style elements", name, len(styles))
		}
		sum := sha256.Sum256([]byte(styles[0][1]))
		if !strings.Contains(
			modelcard.Policy(),
			"'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'",
		) {
			t.Errorf(
				"%s: the policy %q does not allow the page's own style",
				name,
				modelcard.Policy(),
			)
		}
	}
}

// Every part may be absent. The page omits it and shows all others.
func TestAbsentPartsDoNotShow(t *testing.T) {
	empty := render(t, &modelcard.Data{})
	if strings.Contains(empty, "<section") || strings.Contains(empty, "<dl") {
		t.Errorf("an empty model card has sections:\n%s", empty)
	}
	zero := reflect.ValueOf(modelcard.Data{})
	for i := range zero.NumField() {
		name := zero.Type().Field(i).Name
		without := full()
		reflect.ValueOf(without).Elem().Field(i).Set(zero.Field(i))
		if page := render(t, without); strings.Contains(page, "NaN") {
			t.Errorf("without %s the page holds NaN", name)
		}
		alone := &modelcard.Data{}
		reflect.ValueOf(alone).Elem().Field(i).Set(reflect.ValueOf(full()).Elem().Field(i))
		if page := render(t, alone); page == empty {
			t.Errorf("%s alone does not show", name)
		}
	}
}

func TestIdsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	ids := regexp.MustCompile(` id="([^"]*)"`)
	for _, m := range ids.FindAllStringSubmatch(render(t, full()), -1) {
		if seen[m[1]] {
			t.Errorf("id %q twice", m[1])
		}
		seen[m[1]] = true
	}
}

func TestEveryChartIsAlsoATable(t *testing.T) {
	page := render(t, full())
	charts := strings.Count(page, `<svg class="chart" role="img" aria-label="`)
	if tables := strings.Count(page, "<summary>as a table</summary>"); charts != strings.Count(
		page,
		"<svg",
	) ||
		tables != charts ||
		charts < 12 {
		t.Errorf(
			"%d charts with a label, %d charts, %d tables",
			charts,
			strings.Count(page, "<svg"),
			tables,
		)
	}
}

func TestDataSurvivesJSON(t *testing.T) {
	raw, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	var back modelcard.Data
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), &back); diff != "" {
		t.Error(diff)
	}
	if render(t, full()) != render(t, &back) {
		t.Error("the page of the same data differs")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriterErrorsAreReturned(t *testing.T) {
	if err := modelcard.HTML(broken{}, full()); err == nil ||
		!strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
}

// Each rule of Check warns once its limit is exceeded, and not before.
func TestCheck(t *testing.T) {
	clean := func() *modelcard.Data {
		d := full()
		d.Warnings, d.Log.ParityDiffering = nil, 40 // of 4,120
		for i := range d.Differences {
			d.Differences[i].Value = interval(0.01, 0.005, 4000)
		}
		return d
	}
	if got := modelcard.Check(clean()); len(got) != 0 {
		t.Fatalf("a training without problems has warnings: %v", got)
	}
	score := func(scorer string, mean, half float64, n int) func(d *modelcard.Data) {
		return func(d *modelcard.Data) { setScore(d, scorer, interval(mean, half, n)) }
	}
	// A training aims at 300 lists to measure on, and gets a few less.
	usual := full()
	score("this bundle", 0.66, 0.04, 290)(usual)
	for _, w := range modelcard.Check(usual) {
		if strings.Contains(w.Text, "lists were scored") {
			t.Errorf("a holdout of the usual size has the warning %q", w.Text)
		}
	}
	difference := func(i, n int) func(d *modelcard.Data) {
		return func(d *modelcard.Data) { d.Differences[i].Value = interval(-0.02, 0.01, n) }
	}
	for name, c := range map[string]struct {
		spoil   func(d *modelcard.Data)
		serious bool
		want    string
	}{
		"in-sample": {func(d *modelcard.Data) {
			d.Steps[1].From = append(d.Steps[1].From, "newest part")
		}, true, `"metrics" measures on the part "newest part"`},
		"parity": {func(d *modelcard.Data) { d.Log.ParityDiffering = 42 }, true,
			"1.0 % of the logged feature matrices"},
		"gate": {func(d *modelcard.Data) { d.Gate.Activated = false }, true, "Not activated"},
		"forced": {func(d *modelcard.Data) { d.Gate.Forced = true },
			true, "Activated although the gate refused"},
		"worse":       {difference(0, 4000), true, "Worse than " + full().Previous},
		"worse slice": {difference(2, 600), false, `"new users"`},
		"few lists":   {score("this bundle", 0.63, 0.04, 249), false, "Only 249 lists were"},
		"too good":    {score("this bundle", 0.99, 0.001, 4000), true, "too good to be true"},
		"logged order": {func(d *modelcard.Data) {
			metric := "NDCG@10" + modelcard.CorrectedSuffix
			d.Scores = append(d.Scores, modelcard.Score{
				Scorer: evaluation.LoggedOrder, Role: modelcard.RoleBaseline, Metric: metric,
				Slice: evaluation.AllLists, Value: interval(0.64, 0.01, 4000),
			})
			d.Differences = append(d.Differences, modelcard.Difference{
				Against: evaluation.LoggedOrder, Metric: metric, Slice: evaluation.AllLists,
				Value: interval(-0.01, 0.02, 4000),
			})
		}, false, "Not better than the logged order (0.640 NDCG@10, position-corrected)"},
		"baseline": {score("popularity", 0.64, 0.01, 4000), false, "NDCG@10 0.630 cannot be " +
			"distinguished from popularity (0.640) on 4,030 lists. A model"},
		"one feature": {func(d *modelcard.Data) { d.Importances[2].Gain = 1e6 }, true,
			`"text.mean" has 9`},
		"drift": {func(d *modelcard.Data) { d.Features[0].Missing = 0.11 }, false,
			"11 % of the candidates, before it was 0 %"},
		"calibration": {func(d *modelcard.Data) { d.Calibration.Error = 0.06 },
			false, "off by 0.060"},
		"still improving": {func(d *modelcard.Data) { d.Curves[0].Kept = ptr(160) }, false,
			"still improving at its last tree (160)"},
		"from training": {func(d *modelcard.Data) {
			d.Warnings = []modelcard.Warning{{Serious: true, Text: "own"}}
		}, true, "own"},
	} {
		d := clean()
		c.spoil(d)
		got := modelcard.Check(d)
		if len(got) != 1 || got[0].Serious != c.serious || !strings.Contains(got[0].Text, c.want) {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
	flattered := clean()
	setScore(flattered, evaluation.LoggedOrder, interval(0.9, 0.01, 4000))
	if got := modelcard.Check(flattered); len(got) != 0 {
		t.Errorf("position bias flatters the plain metrics of the logged order: %v", got)
	}
	few := clean()
	few.Differences[2].Value = stats.Interval{
		Mean: -0.02, Low: math.NaN(), High: math.NaN(), N: 19,
	}
	if got := modelcard.Check(few); len(got) != 0 {
		t.Errorf("19 lists are too few for a warning about a slice: %v", got)
	}
	d := clean()
	d.Warnings = []modelcard.Warning{{Text: "minor"}, {Serious: true, Text: "major"}}
	if got := modelcard.Check(d); got[0].Text != "major" {
		t.Errorf("the serious warning is not the first: %v", got)
	}
}

func setScore(d *modelcard.Data, scorer string, v stats.Interval) {
	for i, s := range d.Scores {
		if s.Scorer == scorer && s.Slice == evaluation.AllLists && s.Metric == "NDCG@10" {
			d.Scores[i].Value = v
		}
	}
}

// A slice with two lists shows how many it has, and neither an interval nor a verdict.
func TestFewLists(t *testing.T) {
	d := full()
	few := stats.Interval{Mean: 0.4, Low: math.NaN(), High: math.NaN(), N: 2}
	d.Scores = append(d.Scores, modelcard.Score{
		Scorer: d.Scores[0].Scorer, Role: modelcard.RoleThis, Metric: "NDCG@10",
		Slice: "two lists", Value: few,
	})
	d.Differences = append(d.Differences, modelcard.Difference{
		Against: "popularity", Metric: "NDCG@10", Slice: "two lists", Value: few,
	})
	page := render(t, d)
	for _, want := range []string{
		"two lists, 2", "2 lists, too few", "= too few lists", "two lists (2)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "NaN") {
		t.Error("the page has a NaN")
	}
}

// A value that is not a finite number does not break the page.
func TestNotANumber(t *testing.T) {
	d := full()
	d.Scores[0].Value.Mean, d.Importances[0].Gain = math.NaN(), math.Inf(1)
	d.Curves[0].Series[0].Y[3], d.Features[0].Missing = math.NaN(), math.NaN()
	d.ContributionSamples[0].Points[0].Contribution = math.NaN()
	d.Calibration.Bins[0].Observed = math.NaN()
	if page := render(t, d); strings.Contains(page, `="NaN`) || !strings.Contains(page, "</html>") {
		t.Error("the page is broken")
	}
}
