package scorer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/ranker"
	"relish/ranker/scorer"
)

var nan = float32(math.NaN())

// rows builds a matrix of the prior's schema over field "kind" from named cells; the rest is missing.
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
			t.Fatalf("a cell of %v is no column", row)
		}
	}
	return p, m
}

func log1p(x float64) float32 { return float32(math.Log1p(x)) }

// What the prior must say in plain situations: the first row wins.
func TestPriorPrefers(t *testing.T) {
	type row = map[string]float32
	cases := map[string][2]row{
		"the item that is clicked more":                {{"item.rate": 1}, {"item.rate": -1}},
		"the kind that the user clicks":                {{"user_field.rate.kind": 1}, {"user_field.rate.kind": -1}},
		"the query's item":                             {{"text.query": 2, "item.rate": -1}, {"text.query": -1, "item.rate": 1}},
		"what the history's text is like":              {{"text.mean": 1, "user.history": log1p(20)}, {"text.mean": -1, "user.history": log1p(20)}},
		"the popular one before there is a rate":       {{"item.count": log1p(50)}, {"item.count": log1p(2)}},
		"the retriever's choice when nothing is known": {{"retrieval": 1}, {"retrieval": -1}},
		"the newer of two unseen items":                {{"item.age": log1p(1)}, {"item.age": log1p(10_000)}},
		"an unseen item of a liked kind":               {{"field.rate.kind": 1, "item.shown": 0}, {"field.rate.kind": -1, "item.shown": 0}},
		"the item's own rate once it is well known": {
			{"item.rate": 0.5, "item.shown": log1p(5000), "field.rate.kind": -2},
			{"item.rate": -0.5, "item.shown": log1p(5000), "field.rate.kind": 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, m := rows(t, c[0], c[1])
			var scores [2]float64
			if err := p.Score(m, scores[:]); err != nil {
				t.Fatal(err)
			}
			if scores[0] <= scores[1] {
				t.Errorf("scores %v", scores)
			}
		})
	}
}

// The text's say grows with what is known of the user and shrinks with what is known of the item.
func TestPriorGates(t *testing.T) {
	text := func(history, shown float64) float64 {
		p, m := rows(t, map[string]float32{"text.mean": 1, "user.history": log1p(history), "item.shown": log1p(shown)})
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
		t.Error("a user without history has no text to match")
	}
	if !(text(2, 0) < text(20, 0) && text(20, 0) < text(100, 0)) {
		t.Error("the text's part does not grow with the history")
	}
	if !(text(20, 0) > text(20, 10) && text(20, 10) > text(20, 10_000)) {
		t.Error("the text's part does not shrink with the item's impressions")
	}
}

// Whatever the cells hold, the score is finite and the explanation adds up to it.
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
	if _, err := scorer.NewPrior(s, nil); err == nil {
		t.Error("accepted")
	}
}

func TestModels(t *testing.T) {
	m := &ranker.Model{Version: "prior"}
	models := scorer.SingleModel(m)
	for name, known := range map[string]bool{"": true, "prior": true, "other": false} {
		got, err := models.Acquire(name)
		if known != (err == nil && got == m) {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if len(models.Fallbacks("prior")) != 0 {
		t.Error("the prior has no fallback but the order of the input")
	}
}

func BenchmarkPrior(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cells := make([]map[string]float32, n)
			for i := range cells {
				cells[i] = map[string]float32{"item.rate": float32(i), "text.mean": 1, "user.history": 3, "item.shown": 2}
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
	p, m := rows(t, map[string]float32{"text.mean": 1, "user.history": log1p(20), "user_field.rate.kind": 2})
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
	if got := explain(tuned); got["text.mean"] != 0 || got["user_field.rate.kind"] != 3*before["user_field.rate.kind"] {
		t.Errorf("tuned: %v, before: %v", got, before)
	}
	if after := explain(p); after["text.mean"] != before["text.mean"] {
		t.Error("the blend itself has changed")
	}
	for name, bad := range map[string]map[string]float64{"unknown": {"nope": 1}, "part of a name": {"text.me": 1}, "not a number": {"text.mean": math.NaN()}} {
		if _, err := p.Tune(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
