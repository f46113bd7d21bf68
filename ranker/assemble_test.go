package ranker_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/ranker"
)

var nan = float32(math.NaN())

func ptr(x float64) *float64 { return &x }

// assemble makes a one-feature matrix out of the raw values of its columns.
func assemble(t *testing.T, f ranker.Feature, raw ...float32) *ranker.Matrix {
	t.Helper()
	s, err := ranker.NewSchema([]ranker.Feature{f})
	if err != nil {
		t.Fatal(err)
	}
	n := len(raw) / len(s.Columns())
	req := &ranker.Request{Candidates: make([]ranker.Candidate, n)}
	return ranker.Assemble(s, req, &ranker.RequestState{Columns: slices.Clone(raw)}, nil, nil)
}

func TestFeatureOptions(t *testing.T) {
	number := func(change func(*ranker.Feature)) ranker.Feature {
		f := ranker.Feature{Name: "x", Kind: ranker.KindNumber, Field: "x"}
		change(&f)
		return f
	}
	cases := map[string]struct {
		f         ranker.Feature
		raw, want []float32
	}{
		"raw": {number(func(*ranker.Feature) {}), []float32{1, nan, -3}, []float32{1, nan, -3}},
		"range": {number(func(f *ranker.Feature) { f.Min, f.Max = ptr(0), ptr(2) }),
			[]float32{1, nan, -3, 9}, []float32{1, nan, 0, 2}},
		"default": {number(func(f *ranker.Feature) { f.Default = ptr(7) }), []float32{1, nan}, []float32{1, 7}},
		"default after range": {number(func(f *ranker.Feature) { f.Default, f.Max = ptr(7), ptr(2) }),
			[]float32{5, nan}, []float32{2, 7}},
		"missing indicator": {number(func(f *ranker.Feature) { f.Missing, f.Default = true, ptr(0) }),
			[]float32{1, nan, nan, nan}, []float32{1, 0, 0, 1}},
		"rank":            {number(func(f *ranker.Feature) { f.WithinList = "rank" }), []float32{5, 1, 9}, []float32{0.5, 1, 0}},
		"rank with ties":  {number(func(f *ranker.Feature) { f.WithinList = "rank" }), []float32{5, 5, 1}, []float32{0.25, 0.25, 1}},
		"rank, missing":   {number(func(f *ranker.Feature) { f.WithinList = "rank" }), []float32{5, nan, 1}, []float32{0, nan, 1}},
		"rank of one":     {number(func(f *ranker.Feature) { f.WithinList = "rank" }), []float32{5}, []float32{0}},
		"zscore":          {number(func(f *ranker.Feature) { f.WithinList = "zscore" }), []float32{1, 3, nan}, []float32{-1, 1, nan}},
		"zscore of equal": {number(func(f *ranker.Feature) { f.WithinList = "zscore" }), []float32{3, 3, 3}, []float32{0, 0, 0}},
		"ratio":           {number(func(f *ranker.Feature) { f.WithinList = "ratio" }), []float32{1, 3, nan}, []float32{0.5, 1.5, nan}},
		"ratio of zeros":  {number(func(f *ranker.Feature) { f.WithinList = "ratio" }), []float32{0, 0}, []float32{nan, nan}},
		"standing keeps the default": {number(func(f *ranker.Feature) { f.WithinList, f.Default = "zscore", ptr(0) }),
			[]float32{1, 3, nan}, []float32{-1, 1, 0}},
		"position is constant when serving": {ranker.Feature{Name: "p", Kind: ranker.KindPosition}, []float32{nan, nan}, []float32{0, 0}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := assemble(t, c.f, c.raw...)
			for i := range c.want {
				if got.Data[i] != c.want[i] && !(c.want[i] != c.want[i] && got.Data[i] != got.Data[i]) {
					t.Fatalf("got %v, want %v", got.Data, c.want)
				}
			}
		})
	}
}

func TestRetrievalScoreAndHash(t *testing.T) {
	s := schema(t)
	build := func(score float32, has bool) *ranker.Matrix {
		raw := []float32{1, nan, nan}
		return ranker.Assemble(s, &ranker.Request{Candidates: []ranker.Candidate{{ID: "a", Score: score, HasScore: has}}},
			&ranker.RequestState{Columns: raw}, nil, nil)
	}
	if m := build(3, true); m.Data[2] != 3 {
		t.Errorf("%v", m.Data)
	}
	if m := build(0, false); m.Data[2] == m.Data[2] {
		t.Error("no score is missing, not 0")
	}
	row := func(id string) []ranker.Candidate { return []ranker.Candidate{{ID: id}} }
	one := build(3, true).Hash(row("a"))
	if one != build(3, true).Hash(row("a")) || one == build(4, true).Hash(row("a")) || one == build(3, true).Hash(row("b")) {
		t.Error("the hash does not follow the cells and the items")
	}
	if (&ranker.Matrix{}).Hash(nil) != 0 {
		t.Error("hash of nothing")
	}
}

// A list in another order has the same cells, to the last bit, and the same hash.
func TestTheOrderOfTheRowsDoesNotMatter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s, err := ranker.NewSchema([]ranker.Feature{
		{Name: "z", Kind: ranker.KindNumber, Field: "x", WithinList: "zscore"},
		{Name: "q", Kind: ranker.KindNumber, Field: "x", WithinList: "ratio"},
		{Name: "r", Kind: ranker.KindNumber, Field: "x", WithinList: "rank"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		n := 1 + rng.IntN(40)
		scale := math.Pow(10, float64(rng.IntN(12)-6))
		raw := make([]float32, n)
		for i := range raw {
			if raw[i] = float32(rng.NormFloat64() * scale); rng.IntN(10) == 0 {
				raw[i] = nan
			}
		}
		build := func(order []int) (*ranker.Matrix, []ranker.Candidate) {
			req := &ranker.Request{}
			var cells []float32
			for _, i := range order {
				req.Candidates = append(req.Candidates, ranker.Candidate{ID: fmt.Sprint(i)})
				cells = append(cells, raw[i], raw[i], raw[i])
			}
			return ranker.Assemble(s, req, &ranker.RequestState{Columns: cells}, nil, nil), req.Candidates
		}
		m, ids := build(rng.Perm(n))
		other, otherIDs := build(rng.Perm(n))
		if m.Hash(ids) != other.Hash(otherIDs) {
			t.Fatalf("%v in two orders: two hashes", raw)
		}
	}
}

func TestSchemaErrorsNameEveryProblem(t *testing.T) {
	_, err := ranker.NewSchema([]ranker.Feature{
		{Name: "", Kind: ranker.KindAge},
		{Name: "a", Kind: "magic"},
		{Name: "b", Kind: ranker.KindNumber},
		{Name: "b", Kind: ranker.KindCount, Scope: "cosmos", Action: "click"},
		{Name: "c", Kind: ranker.KindRate, Scope: ranker.ScopeField, Action: "click"},
		{Name: "d", Kind: ranker.KindSignal},
		{Name: "e", Kind: ranker.KindAge, WithinList: "median", Encode: "hash", Min: ptr(2), Max: ptr(1), Weight: -1},
		{Name: "f", Kind: ranker.KindCategory, Field: "g", Values: []string{"x", "y"}, WithinList: "rank"},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"name is missing", `kind "magic"`, "needs field", "stands twice", `scope "cosmos"`,
		"needs column", `within_list "median"`, `encode "hash"`, "min 2 is above max 1", "weight -1", "single column"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestSchemaColumnsAndHash(t *testing.T) {
	features := func() []ranker.Feature {
		return []ranker.Feature{
			{Name: "kind", Kind: ranker.KindCategory, Field: "kind", Values: []string{"book", "film"}, Missing: true},
			{Name: "kind.index", Kind: ranker.KindCategory, Field: "kind", Values: []string{"book", "film"}, Encode: "index"},
			{Name: "ctr", Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: "click"},
			{Name: "text", Kind: ranker.KindSignal, Column: "text"},
		}
	}
	s, err := ranker.NewSchema(features())
	if err != nil {
		t.Fatal(err)
	}
	want := []ranker.Column{{"kind=book", "item"}, {"kind=film", "item"}, {"kind.missing", "item"}, {"kind.index", "item"},
		{"ctr", "user"}, {"text", ranker.GroupText}}
	if !slices.Equal(s.Columns(), want) || s.FirstColumn(1) != 3 || s.FirstColumn(3) != 5 {
		t.Errorf("columns %v", s.Columns())
	}
	for i, change := range []func([]ranker.Feature){
		func(f []ranker.Feature) { f[0].Values = []string{"film", "book"} },
		func(f []ranker.Feature) { f[1].Default = ptr(0) },
		func(f []ranker.Feature) { f[2].HalfLife = "7d" },
		func(f []ranker.Feature) { f[3].WithinList = "rank" },
	} {
		f := features()
		change(f)
		if other, err := ranker.NewSchema(f); err != nil || other.Hash() == s.Hash() {
			t.Errorf("change %d: error %v, same hash", i, err)
		}
	}
}
