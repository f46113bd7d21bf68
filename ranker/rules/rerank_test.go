package rules_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/rules"
)

func ptr(x float64) *float64 { return &x }

// list is items 0..n-1, scored n..1; even ones are books, odd ones films; price is the number; tags are
// "t<number mod 3>"; item 4 is unknown.
func list(n int) *ranker.List {
	l := &ranker.List{Request: &ranker.Request{ID: "r"}, State: &ranker.RequestState{}, Vectors: make([][]float32, n)}
	for i := range n {
		id := fmt.Sprintf("i%d", i)
		l.Request.Candidates = append(l.Request.Candidates, ranker.Candidate{ID: id})
		it := ranker.NewItemInfo(ranker.Item{ID: id, Tags: []string{fmt.Sprintf("t%d", i%3)}, Fields: map[string]ranker.FieldValue{
			"kind": ranker.StringValue([]string{"book", "film"}[i%2]), "price": ranker.NumberValue(float64(i))}}, nil)
		if i == 4 {
			it = nil
		}
		l.State.Items = append(l.State.Items, it)
		l.Entries = append(l.Entries, ranker.Entry{Index: i, Score: float64(n - i)})
	}
	return l
}

func order(l *ranker.List) (out []int) {
	for _, e := range l.Entries {
		out = append(out, e.Index)
	}
	return out
}

func apply(t testing.TB, c rules.Config, l *ranker.List) {
	t.Helper()
	steps, err := rules.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if s == nil {
			continue
		}
		if err := s.Apply(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRules(t *testing.T) {
	book := rules.Condition{Field: "kind", Equals: "book"}
	film := rules.Condition{Field: "kind", Equals: "film"}
	filters := func(c ...rules.Condition) rules.Config { return rules.Config{Filters: c} }
	cases := map[string]struct {
		c     rules.Config
		want  []int
		moved string // "i:step" pairs
	}{
		"nothing":          {rules.Config{}, []int{0, 1, 2, 3, 4, 5}, ""},
		"equals":           {filters(book), []int{1, 3, 4, 5}, ""},
		"in tags":          {filters(rules.Condition{Field: "tags", In: []any{"t0", "t1"}}), []int{2, 4, 5}, ""},
		"by id":            {filters(rules.Condition{Field: "id", In: []any{"i4", "i0"}}), []int{1, 2, 3, 5}, ""},
		"below":            {filters(rules.Condition{Field: "price", Lt: ptr(2)}), []int{2, 3, 4, 5}, ""},
		"between":          {filters(rules.Condition{Field: "price", Lt: ptr(4), Gt: ptr(1)}), []int{0, 1, 4, 5}, ""},
		"number equals":    {filters(rules.Condition{Field: "price", Equals: 3}), []int{0, 1, 2, 4, 5}, ""},
		"missing":          {filters(rules.Condition{Field: "kind", Missing: true}), []int{0, 1, 2, 3, 5}, ""},
		"one of two":       {filters(book, film), []int{4}, ""},
		"bound on a word":  {filters(rules.Condition{Field: "kind", Lt: ptr(9)}), []int{0, 1, 2, 3, 4, 5}, ""},
		"seen by click":    {rules.Config{FilterSeen: &rules.Seen{Actions: []string{"click"}}}, []int{0, 2, 3, 4, 5}, ""},
		"seen on a screen": {rules.Config{FilterSeen: &rules.Seen{Shown: true}}, []int{0, 1, 2, 4, 5}, ""},
		"boost":            {rules.Config{Boosts: []rules.Boost{{When: film, Add: 10}}}, []int{1, 3, 5, 0, 2, 4}, "1:boost 3:boost 5:boost"},
		"two boosts add up": {rules.Config{Boosts: []rules.Boost{{When: film, Add: 10}, {When: rules.Condition{Field: "price", Gt: ptr(4)}, Add: 10}}},
			[]int{5, 1, 3, 0, 2, 4}, "5:boost 1:boost 3:boost"},
		"pin":                        {rules.Config{Pins: []rules.Pin{{When: film, Position: 1}}}, []int{1, 0, 2, 3, 4, 5}, "1:pin"},
		"pin past the end":           {rules.Config{Pins: []rules.Pin{{When: book, Position: 99}}}, []int{1, 2, 3, 4, 5, 0}, "0:pin"},
		"two pins":                   {rules.Config{Pins: []rules.Pin{{When: film, Position: 3}, {When: film, Position: 1}}}, []int{3, 0, 1, 2, 4, 5}, "3:pin 1:pin"},
		"pin of nothing":             {rules.Config{Pins: []rules.Pin{{When: rules.Condition{Field: "id", Equals: "x"}, Position: 1}}}, []int{0, 1, 2, 3, 4, 5}, ""},
		"a filter goes before a pin": {rules.Config{Filters: []rules.Condition{film}, Pins: []rules.Pin{{When: film, Position: 1}}}, []int{0, 2, 4}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := list(6)
			l.State.Recent = []ranker.Interaction{{Item: "i1", Action: "click"}, {Item: "i2", Action: "view"}}
			l.State.Shown = []ranker.Shown{{Item: "i3"}}
			apply(t, c.c, l)
			if got := order(l); !slices.Equal(got, c.want) {
				t.Errorf("order %v, want %v", got, c.want)
			}
			var moved []string
			for _, e := range l.Entries {
				for _, step := range e.MovedBy {
					moved = append(moved, fmt.Sprintf("%d:%s", e.Index, step))
				}
			}
			if got := strings.Join(moved, " "); got != c.moved {
				t.Errorf("moved %q, want %q", got, c.moved)
			}
		})
	}
}

// mmrOracle is maximal marginal relevance by its definition: argmax of
// lambda * relevance - (1 - lambda) * max similarity to the chosen.
func mmrOracle(l *ranker.List, lambda float64, top int) []int {
	left := slices.Clone(l.Entries[:top])
	lo, hi := left[top-1].Score, left[0].Score
	var chosen []ranker.Entry
	for len(left) > 0 {
		best, bestValue := 0, math.Inf(-1)
		for i, e := range left {
			similar := 0.0
			for _, c := range chosen {
				if a, b := l.Vectors[e.Index], l.Vectors[c.Index]; a != nil && b != nil {
					dot := 0.0
					for d := range a {
						dot += float64(a[d]) * float64(b[d])
					}
					similar = max(similar, dot)
				}
			}
			if v := lambda*(e.Score-lo)/(hi-lo) - (1-lambda)*similar; v > bestValue+1e-6 {
				best, bestValue = i, v
			}
		}
		chosen = append(chosen, left[best])
		left = slices.Delete(left, best, best+1)
	}
	var out []int
	for _, e := range append(chosen, l.Entries[top:]...) {
		out = append(out, e.Index)
	}
	return out
}

func TestDiversityIsMaximalMarginalRelevance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		l := list(30)
		for i := range l.Vectors {
			if r.IntN(6) == 0 {
				continue
			}
			v := []float32{float32(r.NormFloat64()), float32(r.NormFloat64()), float32(r.NormFloat64())}
			norm := float32(math.Sqrt(float64(v[0]*v[0] + v[1]*v[1] + v[2]*v[2])))
			l.Vectors[i] = []float32{v[0] / norm, v[1] / norm, v[2] / norm}
		}
		lambda := r.Float64()
		want := mmrOracle(l, lambda, 20)
		apply(t, rules.Config{Diversity: &rules.Diversity{Lambda: lambda, Top: 20}}, l)
		if got := order(l); !slices.Equal(got, want) {
			t.Fatalf("lambda %g: %v, want %v", lambda, got, want)
		}
	}
	l := list(5)
	apply(t, rules.Config{Diversity: &rules.Diversity{Lambda: 1, Top: 200}}, l)
	if !slices.Equal(order(l), []int{0, 1, 2, 3, 4}) {
		t.Errorf("lambda 1 is relevance alone, not %v", order(l))
	}
}

// The logged propensity is the probability with which the place was really drawn: over many requests,
// the mean of 1/propensity of the shown first item, weighted, estimates every item's share.
func TestExplorationPropensities(t *testing.T) {
	const requests = 20_000
	c := rules.Config{Exploration: &rules.Exploration{Top: 4, Temperature: 2}}
	first := map[int]float64{}
	inverse := map[int]float64{} // mean of 1{first = i} / propensity: 1 for every i, if it is the truth
	for q := range requests {
		l := list(6)
		l.Request.ID = fmt.Sprint(q)
		apply(t, c, l)
		if !slices.Equal(order(l)[4:], []int{4, 5}) {
			t.Fatal("explored beyond its places")
		}
		if len(l.Propensity) != 6 || l.Propensity[3] != 1 || l.Propensity[5] != 1 {
			t.Fatalf("propensities %v", l.Propensity)
		}
		first[l.Entries[0].Index]++
		inverse[l.Entries[0].Index] += 1 / l.Propensity[0] / requests
	}
	total := 0.0
	for i := range 4 {
		total += math.Exp(float64(6-i) / 2)
	}
	for i := range 4 {
		if want := math.Exp(float64(6-i)/2) / total; math.Abs(first[i]/requests-want) > 0.02 {
			t.Errorf("item %d first in %.3f of the requests, want %.3f", i, first[i]/requests, want)
		}
		if math.Abs(inverse[i]-1) > 0.15 {
			t.Errorf("item %d: inverse propensities sum to %.3f", i, inverse[i])
		}
	}
}

func TestExplorationRepeatsAndLeavesPins(t *testing.T) {
	c := rules.Config{Exploration: &rules.Exploration{Top: 6, Temperature: 100},
		Pins: []rules.Pin{{When: rules.Condition{Field: "id", Equals: "i5"}, Position: 2}}}
	var orders [][]int
	for range 2 {
		l := list(6)
		apply(t, c, l)
		orders = append(orders, order(l))
		if l.Entries[1].Index != 5 || l.Propensity[1] != 1 {
			t.Errorf("the pinned item is not in its place: %v", order(l))
		}
	}
	if !slices.Equal(orders[0], orders[1]) {
		t.Error("the same request was answered in two orders")
	}
}

// Scores far apart must not make a propensity 0 or not a number.
func TestExplorationOfExtremeScores(t *testing.T) {
	l := list(5)
	l.Entries[0].Score, l.Entries[4].Score = 1e6, -1e6
	apply(t, rules.Config{Exploration: &rules.Exploration{Top: 5, Temperature: 0.01}}, l)
	for _, p := range l.Propensity {
		if !(p > 0 && p <= 1) {
			t.Errorf("propensities %v", l.Propensity)
		}
	}
}

func TestConfigErrorsNameEveryProblem(t *testing.T) {
	c := rules.Config{
		FilterSeen:  &rules.Seen{},
		Filters:     []rules.Condition{{Equals: 1}, {Field: "x"}, {Field: "x", Equals: 1, Missing: true}},
		Boosts:      []rules.Boost{{When: rules.Condition{Field: "x", Missing: true}, Add: math.NaN()}},
		Diversity:   &rules.Diversity{Lambda: 2, Top: 1},
		Pins:        []rules.Pin{{When: rules.Condition{Field: "x", Missing: true}}},
		Exploration: &rules.Exploration{Top: 1000},
	}
	_, err := rules.New(c)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"rules.filter_seen", "filters[0]: field", "filters[1]: set one", "filters[2]: set one",
		"boosts[0].add", "diversity: lambda", "pins[0].place", "exploration: temperature"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func BenchmarkDiversity(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	steps, err := rules.New(rules.Config{Diversity: &rules.Diversity{Lambda: 0.7, Top: 100}})
	if err != nil {
		b.Fatal(err)
	}
	l := list(100)
	for i := range l.Vectors {
		v := make([]float32, 384)
		for d := range v {
			v[d] = float32(r.NormFloat64()) / 19.6
		}
		l.Vectors[i] = v
	}
	entries := slices.Clone(l.Entries)
	b.ReportAllocs()
	for b.Loop() {
		copy(l.Entries, entries)
		if err := steps[ranker.RuleDiversity].Apply(context.Background(), l); err != nil {
			b.Fatal(err)
		}
	}
}
