package scorer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/scorer"
)

var nan = float32(math.NaN())

// rows returns a matrix of the prior's schema over field "kind" with the named cells. The other
// cells are missing.
func rows(t testing.TB, cells ...map[string]float32) (*scorer.Prior, *ranker.Matrix) {
	t.Helper()
	s, err := scorer.PriorSchema([]string{"kind"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := scorer.NewPrior(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &ranker.Matrix{N: len(cells), Columns: s.Columns()}
	for _, row := range cells {
		known := 0
		for _, c := range s.Columns() {
			x, ok := row[c.Name]
			if !ok {
				x = nan
			} else {
				known++
			}
			m.Data = append(m.Data, x)
		}
		if known != len(row) {
			t.Fatalf("a key of %v is no column", row)
		}
	}
	return p, m
}

func log1p(x float64) float32 { return float32(math.Log1p(x)) }

// The prior prefers the first row of each pair.
func TestPriorPrefers(t *testing.T) {
	type row = map[string]float32
	known := log1p(20) // a user's interactions
	cases := map[string][2]row{
		"the item with more clicks": {{"item.rate": 1}, {"item.rate": -1}},
		"the kind that the user clicks": {
			{"user_field.rate.kind": 1}, {"user_field.rate.kind": -1},
		},
		"the item that fits the query": {
			{"text.query": 2, "item.rate": -1}, {"text.query": -1, "item.rate": 1},
		},
		"the item whose text is like the history's": {
			{"text.mean": 1, "user.history": known}, {"text.mean": -1, "user.history": known},
		},
		"the popular item while there is no rate": {
			{"item.count": log1p(50)}, {"item.count": log1p(2)},
		},
		"the retriever's choice if nothing is known": {{"retrieval": 1}, {"retrieval": -1}},
		"the newer of two unseen items": {
			{"item.age": log1p(1)}, {"item.age": log1p(10_000)},
		},
		"the unseen item of a popular kind": {
			{"field.rate.kind": 1, "item.shown": 0}, {"field.rate.kind": -1, "item.shown": 0},
		},
		"the item's own rate once it has many impressions": {
			{"item.rate": 0.5, "item.shown": log1p(5000), "field.rate.kind": -2},
			{"item.rate": -0.5, "item.shown": log1p(5000), "field.rate.kind": 2},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, m := rows(t, c[0], c[1])
			var scores [2]float64
			if err := p.Score(m, scores[:]); err != nil {
				t.Fatal(err)
			}
			if scores[0] <= scores[1] {
				t.Errorf("scores %v, want the first one higher", scores)
			}
		})
	}
}

// The text's contribution grows with the user's history and shrinks with the item's impressions.
func TestPriorGates(t *testing.T) {
	text := func(history, shown float64) float64 {
		p, m := rows(
			t,
			map[string]float32{
				"text.mean":    1,
				"user.history": log1p(history),
				"item.shown":   log1p(shown),
			},
		)
		parts := make([]float64, len(m.Columns))
		if _, err := p.Explain(m, 0, parts); err != nil {
			t.Fatal(err)
		}
		for i, c := range m.Columns {
			if c.Name == "text.mean" {
				return parts[i]
			}
		}
		t.Fatal("no text column")
		return 0
	}
	if text(0, 0) != 0 {
		t.Error("the text contributes although the user has no history")
	}
	if !(text(2, 0) < text(20, 0) && text(20, 0) < text(100, 0)) {
		t.Error("the text's contribution does not grow with the history")
	}
	if !(text(20, 0) > text(20, 10) && text(20, 10) > text(20, 10_000)) {
		t.Error("the text's contribution does not shrink with the item's impressions")
	}
}

// For any cells, the score is finite and the explanation adds up to it.
func TestPriorIsFiniteAndExplained(t *testing.T) {
	s, err := scorer.PriorSchema([]string{"kind", "author"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := scorer.NewPrior(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	m := &ranker.Matrix{N: 500, Columns: s.Columns()}
	for range m.N * len(m.Columns) {
		x := float32(r.NormFloat64())
		switch r.IntN(6) {
		case 0:
			x = nan
		case 1:
			x *= 1e6
		}
		m.Data = append(m.Data, x)
	}
	scores := make([]float64, m.N)
	if err := p.Score(m, scores); err != nil {
		t.Fatal(err)
	}
	for i, score := range scores {
		parts := make([]float64, len(m.Columns))
		total, err := p.Explain(m, i, parts)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range parts {
			total += x
		}
		if score-score != 0 || math.Abs(total-score) > 1e-9*max(1, math.Abs(score)) {
			t.Fatalf("row %d: score %g, explained %g", i, score, total)
		}
	}
}

func TestPriorNeedsItsSchema(t *testing.T) {
	s, err := ranker.NewSchema([]ranker.Feature{{Name: "x", Kind: ranker.KindAge}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = scorer.NewPrior(s, nil)
	const want = "the schema lacks feature user.history; make it with PriorSchema"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestSingleModel(t *testing.T) {
	m := &ranker.Model{Version: "prior"}
	models := scorer.SingleModel(m)
	for name, known := range map[string]bool{"": true, "prior": true, "other": false} {
		got, err := models.Acquire(name)
		if known != (err == nil && got == m) {
			t.Errorf("version %q: model %v, error %v; known: %t", name, got, err, known)
		}
	}
	if len(models.Fallbacks("prior")) != 0 {
		t.Error("a single model has no fallback")
	}
}

func BenchmarkPrior(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cells := make([]map[string]float32, n)
			for i := range cells {
				cells[i] = map[string]float32{
					"item.rate":    float32(i),
					"text.mean":    1,
					"user.history": 3,
					"item.shown":   2,
				}
			}
			p, m := rows(b, cells...)
			out := make([]float64, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Score(m, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPriorTunes(t *testing.T) {
	p, m := rows(
		t,
		map[string]float32{"text.mean": 1, "user.history": log1p(20), "user_field.rate.kind": 2},
	)
	explain := func(b ranker.Scorer) map[string]float64 {
		parts := make([]float64, len(m.Columns))
		if _, err := b.Explain(m, 0, parts); err != nil {
			t.Fatal(err)
		}
		by := map[string]float64{}
		for i, c := range m.Columns {
			by[c.Name] = parts[i]
		}
		return by
	}
	before := explain(p)
	tuned, err := p.Tune(map[string]float64{"text.mean": 0, "user_field.rate": 3})
	if err != nil {
		t.Fatal(err)
	}
	if got := explain(tuned); got["text.mean"] != 0 ||
		got["user_field.rate.kind"] != 3*before["user_field.rate.kind"] {
		t.Errorf("tuned: %v, before: %v", got, before)
	}
	if after := explain(p); after["text.mean"] != before["text.mean"] {
		t.Error("Tune has changed its receiver")
	}
	for name, c := range map[string]struct {
		params map[string]float64
		want   string
	}{
		"unknown": {
			map[string]float64{"nope": 1}, `the prior has no parameter "nope"; it has field.`,
		},
		"part of a name": {
			map[string]float64{"text.me": 1}, `the prior has no parameter "text.me"; it has`,
		},
		"not a number": {
			map[string]float64{"text.mean": math.NaN()}, `parameter "text.mean" is NaN; it must`,
		},
	} {
		if _, err := p.Tune(c.params); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that contains %q", name, err, c.want)
		}
	}
}
