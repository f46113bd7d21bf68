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

// assemble returns the matrix of one feature from the raw values of its columns.
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
	within := func(transform string) ranker.Feature {
		return number(func(f *ranker.Feature) { f.WithinList = transform })
	}
	cases := map[string]struct {
		f         ranker.Feature
		raw, want []float32
	}{
		"no option": {
			number(func(*ranker.Feature) {}), []float32{1, nan, -3}, []float32{1, nan, -3},
		},
		"min and max": {number(func(f *ranker.Feature) { f.Min, f.Max = ptr(0), ptr(2) }),
			[]float32{1, nan, -3, 9}, []float32{1, nan, 0, 2}},
		"default": {
			number(func(f *ranker.Feature) { f.Default = ptr(7) }), []float32{1, nan},
			[]float32{1, 7},
		},
		"max does not clamp the default": {
			number(func(f *ranker.Feature) { f.Default, f.Max = ptr(7), ptr(2) }),
			[]float32{5, nan},
			[]float32{2, 7},
		},
		"missing indicator": {
			number(func(f *ranker.Feature) { f.Missing, f.Default = true, ptr(0) }),
			[]float32{1, nan, nan, nan},
			[]float32{1, 0, 0, 1},
		},
		"rank":                   {within("rank"), []float32{5, 1, 9}, []float32{0.5, 1, 0}},
		"rank with ties":         {within("rank"), []float32{5, 5, 1}, []float32{0.25, 0.25, 1}},
		"rank, one missing":      {within("rank"), []float32{5, nan, 1}, []float32{0, nan, 1}},
		"rank of one value":      {within("rank"), []float32{5}, []float32{0}},
		"zscore":                 {within("zscore"), []float32{1, 3, nan}, []float32{-1, 1, nan}},
		"zscore of equal values": {within("zscore"), []float32{3, 3, 3}, []float32{0, 0, 0}},
		"ratio":                  {within("ratio"), []float32{1, 3, nan}, []float32{0.5, 1.5, nan}},
		"ratio of zeros":         {within("ratio"), []float32{0, 0}, []float32{nan, nan}},
		"an infinite value hides no other one": {
			within("zscore"), []float32{1, float32(math.Inf(1)), 3}, []float32{-1, nan, 1}},
		"zscore with a default": {
			number(func(f *ranker.Feature) { f.WithinList, f.Default = "zscore", ptr(0) }),
			[]float32{1, 3, nan}, []float32{-1, 1, 0}},
		"position is constant when serving": {ranker.Feature{Name: "p", Kind: ranker.KindPosition},
			[]float32{nan, nan}, []float32{0, 0}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := assemble(t, c.f, c.raw...)
			for i, want := range c.want {
				if x := got.Data[i]; x != want && !(want != want && x != x) {
					t.Fatalf("got %v, want %v", got.Data, c.want)
				}
			}
		})
	}
}

func TestRetrievalScoreAndHash(t *testing.T) {
	s := schema(t)
	build := func(score float32, has bool) *ranker.Matrix {
		req := &ranker.Request{
			Candidates: []ranker.Candidate{{ID: "a", Score: score, HasScore: has}},
		}
		return ranker.Assemble(
			s,
			req,
			&ranker.RequestState{Columns: []float32{1, nan, nan}},
			nil,
			nil,
		)
	}
	if m := build(3, true); m.Data[2] != 3 {
		t.Errorf("row %v, want 3 as the retrieval score", m.Data)
	}
	if m := build(0, false); m.Data[2] == m.Data[2] {
		t.Errorf("row %v, want no retrieval score", m.Data)
	}
	candidate := func(id string) []ranker.Candidate { return []ranker.Candidate{{ID: id}} }
	hash := build(3, true).Hash(candidate("a"))
	if hash != build(3, true).Hash(candidate("a")) {
		t.Error("equal matrices have two hashes")
	}
	if hash == build(4, true).Hash(candidate("a")) || hash == build(3, true).Hash(candidate("b")) {
		t.Error("another cell or another item has the same hash")
	}
	if h := (&ranker.Matrix{}).Hash(nil); h != 0 {
		t.Errorf("hash of an empty matrix: %x, want 0", h)
	}
}

// A list in another order has the same cells, to the last bit, and the same hash.
func TestRowOrderDoesNotMatter(t *testing.T) {
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
		hashOf := func(order []int) uint64 {
			req := &ranker.Request{}
			var cells []float32
			for _, i := range order {
				req.Candidates = append(req.Candidates, ranker.Candidate{ID: fmt.Sprint(i)})
				cells = append(cells, raw[i], raw[i], raw[i])
			}
			m := ranker.Assemble(s, req, &ranker.RequestState{Columns: cells}, nil, nil)
			return m.Hash(req.Candidates)
		}
		if a, b := hashOf(rng.Perm(n)), hashOf(rng.Perm(n)); a != b {
			t.Fatalf("%v in two orders has the hashes %x and %x", raw, a, b)
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
		{
			Name:       "e",
			Kind:       ranker.KindAge,
			WithinList: "median",
			Encode:     "hash",
			Min:        ptr(2),
			Max:        ptr(1),
			Weight:     -1,
		},
		{
			Name:       "f",
			Kind:       ranker.KindCategory,
			Field:      "g",
			Values:     []string{"x", "y"},
			WithinList: "rank",
		},
	})
	if err == nil {
		t.Fatal("the schema was accepted")
	}
	for _, want := range []string{
		`features[0] "": name is missing`,
		`features[1] "a": unknown kind "magic"; use one of number, boolean, `,
		`features[2] "b": kind number needs field`,
		`features[3] "b": another feature has this name; names must be distinct`,
		`features[3] "b": unknown scope "cosmos"; use one of item, field, user, user_field, global`,
		`features[4] "c": kind rate needs field`,
		`features[5] "d": kind signal needs column`,
		`features[6] "e": unknown within_list "median"; use rank, zscore or ratio`,
		`features[6] "e": unknown encode "hash"; use onehot or index`,
		`features[6] "e": min 2 is above max 1`,
		`features[6] "e": weight is -1; it must be 0 or more`,
		`features[7] "f": within_list needs a feature of a single column`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %q:\n%v", want, err)
		}
	}
}

func TestSchemaColumnsAndHash(t *testing.T) {
	kinds := []string{"book", "film"}
	features := func() []ranker.Feature {
		return []ranker.Feature{
			{Name: "kind", Kind: ranker.KindCategory, Field: "kind", Values: kinds, Missing: true},
			{
				Name:   "kind.index",
				Kind:   ranker.KindCategory,
				Field:  "kind",
				Values: kinds,
				Encode: "index",
			},
			{Name: "ctr", Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: "click"},
			{Name: "text", Kind: ranker.KindSignal, Column: "text"},
		}
	}
	s, err := ranker.NewSchema(features())
	if err != nil {
		t.Fatal(err)
	}
	want := []ranker.Column{
		{
			"kind=book",
			"item",
		}, {"kind=film", "item"}, {"kind.missing", "item"}, {"kind.index", "item"},
		{"ctr", "user"}, {"text", ranker.GroupText},
	}
	if !slices.Equal(s.Columns(), want) || s.FirstColumn(1) != 3 || s.FirstColumn(3) != 5 {
		t.Errorf("columns %v, want %v", s.Columns(), want)
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
			t.Errorf("change %d of the schema keeps its hash (error %v)", i, err)
		}
	}
}
