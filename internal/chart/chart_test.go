package chart_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"relish/internal/chart"
)

var about = chart.About{Title: `A & "B"`, Description: "<what> it shows"}

// hostile is a name that tries to inject markup.
const hostile = `"><script>alert('1')</script>&amp;`

// charts returns one chart of every kind with values from next, some of them not finite.
func charts(next func() float64, n int) map[string]chart.Chart {
	lines := &chart.Lines{
		About:  about,
		X:      chart.Axis{Label: "x"},
		Y:      chart.Axis{Label: "y"},
		Levels: []chart.Mark{{At: next(), Label: hostile}},
		Stops:  []chart.Mark{{At: next(), Label: hostile}},
	}
	iv := &chart.Intervals{
		About: about, X: chart.Axis{Label: "x"}, Ref: &chart.Mark{At: 0, Label: hostile},
	}
	bars := &chart.Bars{About: about, X: chart.Axis{Label: "x"}}
	rel := &chart.Reliability{About: about}
	strips := &chart.Strips{About: about, Low: "low", High: "high"}
	hist := &chart.Histogram{About: about, Edges: []float64{0}}
	flow := &chart.Flow{About: about}
	for i := range n {
		name := fmt.Sprint(hostile, i)
		v, w := next(), next()
		s := chart.Series{Name: name, Color: i}
		for x := range 5 {
			y := next()
			s.Points = append(s.Points, chart.Point{X: float64(x), Y: y, Low: y - w, High: y + w})
		}
		lines.Series = append(lines.Series, s)
		iv.Rows = append(iv.Rows, chart.Estimate{
			Group: fmt.Sprint(hostile, i/2), Label: name, Note: hostile, Color: i,
			Value: v, Low: v - w, High: v + w,
		})
		bars.Rows = append(bars.Rows, chart.Bar{Label: name, Value: v, Color: i})
		rel.Bins = append(rel.Bins, chart.Bin{
			Predicted: math.Abs(v), Observed: math.Abs(w), Low: v, High: w, N: i,
		})
		strips.Rows = append(strips.Rows, chart.Strip{Label: name, Grains: []chart.Grain{
			{X: v, Level: w}, {X: w, Level: math.NaN()}, {X: v, Level: 1},
		}})
		hist.Edges, hist.Counts = append(hist.Edges, float64(i+1)), append(hist.Counts, math.Abs(v))
		flow.Boxes = append(flow.Boxes, chart.Box{
			Name: name, Note: hostile, Color: i,
			From: []string{fmt.Sprint(hostile, i/3), fmt.Sprint(hostile, i-1)},
		})
	}
	return map[string]chart.Chart{
		"lines": lines, "intervals": iv, "bars": bars, "reliability": rel, "strips": strips,
		"histogram": hist, "flow": flow,
	}
}

// For any values, a chart is well-formed, escapes every name, stays inside its own box, and
// contains neither NaN nor anything that a strict Content-Security-Policy forbids.
func TestAnyValuesCanBeDrawn(t *testing.T) {
	special := rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0})
	value := rapid.OneOf(rapid.Float64Range(-1, 1), rapid.Float64(), special)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 7).Draw(rt, "n")
		for name, c := range charts(func() float64 { return value.Draw(rt, "value") }, n) {
			svg := string(c.SVG())
			if err := sound(svg); err != nil {
				rt.Fatalf("%s: %v\n%s", name, err, svg)
			}
			if again := string(c.SVG()); again != svg {
				rt.Fatalf("%s: two drawings differ", name)
			}
			head, rows := c.Table()
			for _, row := range rows {
				if len(row) != len(head) {
					rt.Fatalf("%s: a row has %d cells for %d columns", name, len(row), len(head))
				}
			}
			if err := wellFormed(string(chart.Figure(hostile, c))); err != nil {
				rt.Fatalf("%s: figure: %v", name, err)
			}
		}
	})
}

var forbidden = regexp.MustCompile(
	`(?i)<script|style=|href|url\(|https?:| id=|\bon[a-z]+=|NaN|Inf\b`)

func sound(svg string) error {
	if m := forbidden.FindString(svg); m != "" {
		return fmt.Errorf("contains %q", m)
	}
	if err := wellFormed(svg); err != nil {
		return err
	}
	for axis, attrs := range map[string]*regexp.Regexp{
		"width":  regexp.MustCompile(` (?:x|cx|x1|x2)="([^"]*)"`),
		"height": regexp.MustCompile(` (?:y|cy|y1|y2)="([^"]*)"`),
	} {
		limit := number(regexp.MustCompile(axis + `="([^"]*)"`).FindStringSubmatch(svg)[1])
		for _, m := range attrs.FindAllStringSubmatch(svg, -1) {
			if v := number(m[1]); !(v >= -1 && v <= limit+1) {
				return fmt.Errorf("%s is outside the chart's %s of %g", m[0], axis, limit)
			}
		}
	}
	return nil
}

func wellFormed(s string) error {
	d := xml.NewDecoder(strings.NewReader("<root>" + s + "</root>"))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// attr returns the values of an attribute of all elements of a class, in order.
func attr(svg, element, class, name string) []float64 {
	var out []float64
	elements := regexp.MustCompile(`<` + element + ` class="` + class + `"[^>]*>`)
	value := regexp.MustCompile(` ` + name + `="([^"]*)"`)
	for _, el := range elements.FindAllString(svg, -1) {
		out = append(out, number(value.FindStringSubmatch(el)[1]))
	}
	return out
}

func TestNoData(t *testing.T) {
	for name, c := range charts(func() float64 { return math.NaN() }, 0) {
		if !strings.Contains(string(c.SVG()), "nothing to draw") {
			t.Errorf("%s: %s", name, c.SVG())
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi   float64
		n        int
		want     []float64
		decimals int
	}{
		{0, 1, 5, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}, 1},
		{0, 100, 4, []float64{0, 20, 40, 60, 80, 100}, 0},
		{-3, 7, 3, []float64{0, 5}, 0},
		{0.61, 0.64, 3, []float64{0.61, 0.62, 0.63, 0.64}, 2},
		{1, 1, 5, nil, 0},
		{0, math.NaN(), 5, nil, 0},
	} {
		got, decimals := chart.Ticks(c.lo, c.hi, c.n)
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }
		same := slices.EqualFunc(got, c.want, near)
		if !same || decimals != c.decimals {
			t.Errorf("Ticks(%g, %g, %d) = %v with %d decimals, want %v with %d",
				c.lo, c.hi, c.n, got, decimals, c.want, c.decimals)
		}
	}
}

// Ticks are within the range and evenly spaced. There are about as many as requested, and they
// differ as printed.
func TestTicksOfAnyRange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lo := rapid.Float64Range(-1e6, 1e6).Draw(rt, "lo")
		hi := lo + rapid.Float64Range(1e-4, 1e7).Draw(rt, "width")
		n := rapid.IntRange(2, 10).Draw(rt, "n")
		at, decimals := chart.Ticks(lo, hi, n)
		if len(at) < n/2 || len(at) > 2*n+1 {
			rt.Fatalf("%d ticks, requested %d: %v", len(at), n, at)
		}
		seen := map[string]bool{}
		for i, v := range at {
			if v < lo-(hi-lo)*1e-6 || v > hi+(hi-lo)*1e-6 {
				rt.Fatalf("%v is outside %v to %v", v, lo, hi)
			}
			if i > 1 && math.Abs((at[i]-at[i-1])-(at[1]-at[0])) > (hi-lo)*1e-6 {
				rt.Fatalf("uneven: %v", at)
			}
			s := strconv.FormatFloat(v, 'f', decimals, 64)
			if seen[s] {
				rt.Fatalf("two ticks read %s", s)
			}
			seen[s] = true
		}
	})
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.63049: "0.6305", -0.5: "-0.5", 1.5: "1.5", 12.34: "12.3", 999: "999",
		1234567: "1.23 M", 45678: "45,678", -1234: "-1,234", 2.5e9: "2.5 G", 1e-7: "1e-07",
		math.Inf(1): "–", math.Copysign(0, -1): "0", 999999: "999,999",
	} {
		if got := chart.Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
	if got := chart.Number(math.NaN()); got != "–" {
		t.Errorf("NaN is formatted as %q", got)
	}
}

func TestBarLengths(t *testing.T) {
	bars := &chart.Bars{About: about, Rows: []chart.Bar{
		{Label: "a", Value: 4}, {Label: "b", Value: -2}, {Label: "c", Value: 1},
	}}
	svg := string(bars.SVG())
	w, x := attr(svg, "rect", "fill", "width"), attr(svg, "rect", "fill", "x")
	if math.Abs(w[0]-4*w[2]) > 0.5 || math.Abs(w[1]-2*w[2]) > 0.5 {
		t.Errorf("widths of 4, -2 and 1 are %v", w)
	}
	if math.Abs(x[1]+w[1]-x[0]) > 0.2 || x[0] != x[2] {
		t.Errorf("bars start at %v; they must meet at 0", x)
	}
}

func TestIntervalPositions(t *testing.T) {
	iv := &chart.Intervals{About: about, Rows: []chart.Estimate{
		{Label: "low", Value: 1, Low: 0.5, High: 1.5},
		{Label: "high", Value: 3, Low: 2, High: 4},
		{Label: "no interval", Value: 2, Low: math.NaN(), High: math.NaN()},
	}}
	svg := string(iv.SVG())
	at := attr(svg, "circle", "fill", "cx")
	if math.Abs(at[2]-(at[0]+at[1])/2) > 0.2 {
		t.Errorf("1, 3 and 2 are at %v", at)
	}
	if n := strings.Count(svg, `class="whisker"`); n != 6 {
		t.Errorf("%d lines of whiskers, want three for each of the two intervals", n)
	}
	if _, rows := iv.Table(); rows[0][1] != "1 [0.5, 1.5]" || rows[2][1] != "2" {
		t.Errorf("table %v", rows)
	}
}

// Calibrated bins are on the diagonal, from the lower left to the upper right.
func TestReliabilityDiagonal(t *testing.T) {
	r := &chart.Reliability{About: about, Bins: []chart.Bin{
		{Predicted: 0.1, Observed: 0.1},
		{Predicted: 0.4, Observed: 0.4},
		{Predicted: 0.2, Observed: 0.3},
	}}
	svg := string(r.SVG())
	x, y := attr(svg, "circle", "fill", "cx"), attr(svg, "circle", "fill", "cy")
	if math.Abs((x[1]-x[0])+(y[1]-y[0])) > 0.2 || x[1] <= x[0] {
		t.Errorf("calibrated bins at %v, %v", x, y)
	}
	if y[2] >= y[0]-(x[2]-x[0]) {
		t.Errorf("a bin with a higher observed share is below the diagonal")
	}
}

func TestLinesTable(t *testing.T) {
	l := &chart.Lines{About: about, X: chart.Axis{Label: "round"}, Series: []chart.Series{
		{Name: "train", Points: []chart.Point{{X: 1, Y: 0.5}, {X: 2, Y: 0.6}}},
		{Name: "valid", Points: []chart.Point{{X: 2, Y: 0.4, Low: 0.3, High: 0.5}}}}}
	head, rows := l.Table()
	want := [][]string{{"1", "0.5", "–"}, {"2", "0.6", "0.4 [0.3, 0.5]"}}
	if !slices.EqualFunc(rows, want, slices.Equal) ||
		!slices.Equal(head, []string{"round", "train", "valid"}) {
		t.Errorf("%v %v", head, rows)
	}
	if n := strings.Count(string(l.SVG()), "<polyline"); n != 1 {
		t.Errorf("%d curves; a curve with a single point must be a dot", n)
	}
}

// Every box is below everything that it is made from, no two boxes overlap, and a cycle terminates.
func TestFlowLayout(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var f chart.Flow
		n := 1 + rng.IntN(12)
		for i := range n {
			b := chart.Box{Name: fmt.Sprint("b", i)}
			for range rng.IntN(3) {
				// Any box, itself, or an unknown one.
				b.From = append(b.From, fmt.Sprint("b", rng.IntN(n+1)))
			}
			f.Boxes = append(f.Boxes, b)
		}
		svg := string(f.SVG())
		x, y := attr(svg, "rect", "box", "x"), attr(svg, "rect", "box", "y")
		w := attr(svg, "rect", "box", "width")
		if len(x) != n {
			t.Fatalf("%d boxes drawn of %d", len(x), n)
		}
		for i := range x {
			for j := range x[:i] {
				if y[i] == y[j] && x[i] < x[j]+w[j] && x[j] < x[i]+w[i] {
					t.Fatalf("boxes overlap:\n%s", svg)
				}
			}
		}
	}
	f := &chart.Flow{Boxes: []chart.Box{
		{Name: "late", From: []string{"early", "middle"}},
		{Name: "middle", From: []string{"early"}},
		{Name: "early"},
	}}
	svg := string(f.SVG())
	y := attr(svg, "rect", "box", "y")
	if !(y[0] < y[1] && y[1] < y[2]) ||
		strings.Index(svg, ">early<") > strings.Index(svg, ">middle<") {
		t.Errorf("boxes at heights %v", y)
	}
}

func TestStripsDrawEveryGrain(t *testing.T) {
	var s chart.Strip
	for i := range 300 {
		s.Grains = append(s.Grains, chart.Grain{X: float64(i % 3), Level: float64(i%3) / 2})
	}
	svg := string((&chart.Strips{About: about, Rows: []chart.Strip{s}}).SVG())
	if n := strings.Count(svg, `class="grain"`); n != 300 {
		t.Errorf("%d grains drawn of 300", n)
	}
	seen := map[[2]float64]bool{}
	x, y := attr(svg, "circle", "grain", "cx"), attr(svg, "circle", "grain", "cy")
	for i := range x {
		seen[[2]float64{x[i], y[i]}] = true
	}
	if len(seen) < 250 {
		t.Errorf("300 grains have only %d positions and hide each other", len(seen))
	}
}

func TestStyleSheetHasNoReferences(t *testing.T) {
	if m := regexp.MustCompile(`(?i)url\(|@import|https?:`).FindString(chart.CSS); m != "" {
		t.Errorf("contains %q", m)
	}
	for i := range 7 {
		if !strings.Contains(chart.CSS, fmt.Sprintf(".c%d{", i)) {
			t.Errorf("colour %d is missing", i)
		}
	}
}
