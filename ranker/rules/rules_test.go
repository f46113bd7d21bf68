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

// newList returns a list of the items i0 to i(n-1), scored n to 1. Items of even number are books,
// the others films. The price is the number, the tag "t<number mod 3>". Item i4 is unknown.
func newList(n int) *ranker.List {
	l := &ranker.List{
		Request: &ranker.Request{ID: "r"},
		State:   &ranker.RequestState{},
		Vectors: make([][]float32, n),
	}
	for i := range n {
		id := fmt.Sprintf("i%d", i)
		l.Request.Candidates = append(l.Request.Candidates, ranker.Candidate{ID: id})
		it := ranker.NewItemInfo(ranker.Item{
			ID:   id,
			Tags: []string{fmt.Sprintf("t%d", i%3)},
			Fields: map[string]ranker.FieldValue{
				"kind":  ranker.StringValue([]string{"book", "film"}[i%2]),
				"price": ranker.NumberValue(float64(i)),
			},
		}, nil)
		if i == 4 {
			it = nil
		}
		l.State.Items = append(l.State.Items, it)
		l.Entries = append(l.Entries, ranker.Entry{Index: i, Score: float64(n - i)})
	}
	return l
}

func order(l *ranker.List) (indices []int) {
	for _, e := range l.Entries {
		indices = append(indices, e.Index)
	}
	return indices
}

// apply applies the configuration's rules in their order.
func apply(t testing.TB, c rules.Config, l *ranker.List) {
	t.Helper()
	set, err := rules.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set {
		if r == nil {
			continue
		}
		if err := r.Apply(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRules(t *testing.T) {
	book := rules.Condition{Field: "kind", Equals: "book"}
	film := rules.Condition{Field: "kind", Equals: "film"}
	filters := func(c ...rules.Condition) rules.Config { return rules.Config{Filters: c} }
	boosts := func(b ...rules.Boost) rules.Config { return rules.Config{Boosts: b} }
	pins := func(p ...rules.Pin) rules.Config { return rules.Config{Pins: p} }
	field := func(name string) rules.Condition { return rules.Condition{Field: name} }
	with := func(c rules.Condition, change func(*rules.Condition)) rules.Condition {
		change(&c)
		return c
	}
	tags := with(field("tags"), func(c *rules.Condition) { c.In = []any{"t0", "t1"} })
	ids := with(field("id"), func(c *rules.Condition) { c.In = []any{"i4", "i0"} })
	below2 := with(field("price"), func(c *rules.Condition) { c.Lt = ptr(2) })
	from2to3 := with(field("price"), func(c *rules.Condition) { c.Lt, c.Gt = ptr(4), ptr(1) })
	above4 := with(field("price"), func(c *rules.Condition) { c.Gt = ptr(4) })
	is3 := with(field("price"), func(c *rules.Condition) { c.Equals = 3 })
	noKind := with(field("kind"), func(c *rules.Condition) { c.Missing = true })
	kindBelow9 := with(field("kind"), func(c *rules.Condition) { c.Lt = ptr(9) })
	noItem := with(field("id"), func(c *rules.Condition) { c.Equals = "x" })
	cases := map[string]struct {
		c     rules.Config
		want  []int
		moved string // "index:rule" pairs
	}{
		"no rules":       {rules.Config{}, []int{0, 1, 2, 3, 4, 5}, ""},
		"equals":         {filters(book), []int{1, 3, 4, 5}, ""},
		"in tags":        {filters(tags), []int{2, 4, 5}, ""},
		"in ids":         {filters(ids), []int{1, 2, 3, 5}, ""},
		"lt":             {filters(below2), []int{2, 3, 4, 5}, ""},
		"lt and gt":      {filters(from2to3), []int{0, 1, 4, 5}, ""},
		"number equals":  {filters(is3), []int{0, 1, 2, 4, 5}, ""},
		"missing":        {filters(noKind), []int{0, 1, 2, 3, 5}, ""},
		"two filters":    {filters(book, film), []int{4}, ""},
		"lt on a string": {filters(kindBelow9), []int{0, 1, 2, 3, 4, 5}, ""},
		"seen by click": {rules.Config{FilterSeen: &rules.Seen{Actions: []string{"click"}}},
			[]int{0, 2, 3, 4, 5}, ""},
		"seen by being shown": {
			rules.Config{FilterSeen: &rules.Seen{Shown: true}},
			[]int{0, 1, 2, 4, 5},
			"",
		},
		"boost": {boosts(rules.Boost{When: film, Add: 10}),
			[]int{1, 3, 5, 0, 2, 4}, "1:boost 3:boost 5:boost"},
		"two boosts add up": {
			boosts(rules.Boost{When: film, Add: 10}, rules.Boost{When: above4, Add: 10}),
			[]int{5, 1, 3, 0, 2, 4},
			"5:boost 1:boost 3:boost",
		},
		"pin": {
			pins(rules.Pin{When: film, Position: 1}),
			[]int{1, 0, 2, 3, 4, 5},
			"1:pin",
		},
		"pin past the end": {
			pins(rules.Pin{When: book, Position: 99}),
			[]int{1, 2, 3, 4, 5, 0},
			"0:pin",
		},
		"two pins": {pins(rules.Pin{When: film, Position: 3}, rules.Pin{When: film, Position: 1}),
			[]int{3, 0, 1, 2, 4, 5}, "3:pin 1:pin"},
		"pin of no item": {pins(rules.Pin{When: noItem, Position: 1}), []int{0, 1, 2, 3, 4, 5}, ""},
		"a filter precedes a pin": {
			rules.Config{
				Filters: []rules.Condition{film},
				Pins:    []rules.Pin{{When: film, Position: 1}},
			},
			[]int{0, 2, 4}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := newList(6)
			l.State.Recent = []ranker.Interaction{
				{Item: "i1", Action: "click"},
				{Item: "i2", Action: "view"},
			}
			l.State.Shown = []ranker.Shown{{Item: "i3"}}
			apply(t, c.c, l)
			if got := order(l); !slices.Equal(got, c.want) {
				t.Errorf("order %v, want %v", got, c.want)
			}
			var moved []string
			for _, e := range l.Entries {
				for _, rule := range e.MovedBy {
					moved = append(moved, fmt.Sprintf("%d:%s", e.Index, rule))
				}
			}
			if got := strings.Join(moved, " "); got != c.moved {
				t.Errorf("moved %q, want %q", got, c.moved)
			}
		})
	}
}

// naiveMMR is maximal marginal relevance by its definition: at each position, the entry with the
// largest lambda * relevance - (1 - lambda) * max similarity to the chosen ones.
func naiveMMR(l *ranker.List, lambda float64, top int) []int {
	left := slices.Clone(l.Entries[:top])
	lowest, highest := left[top-1].Score, left[0].Score
	var chosen []ranker.Entry
	for len(left) > 0 {
		best, bestValue := 0, math.Inf(-1)
		for i, e := range left {
			similarity := 0.0
			for _, c := range chosen {
				if a, b := l.Vectors[e.Index], l.Vectors[c.Index]; a != nil && b != nil {
					dot := 0.0
					for d := range a {
						dot += float64(a[d]) * float64(b[d])
					}
					similarity = max(similarity, dot)
				}
			}
			v := lambda*(e.Score-lowest)/(highest-lowest) - (1-lambda)*similarity
			if v > bestValue+1e-6 {
				best, bestValue = i, v
			}
		}
		chosen = append(chosen, left[best])
		left = slices.Delete(left, best, best+1)
	}
	var indices []int
	for _, e := range append(chosen, l.Entries[top:]...) {
		indices = append(indices, e.Index)
	}
	return indices
}

func TestDiversityIsMaximalMarginalRelevance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		l := newList(30)
		for i := range l.Vectors {
			if r.IntN(6) == 0 {
				continue
			}
			v := []float32{
				float32(r.NormFloat64()),
				float32(r.NormFloat64()),
				float32(r.NormFloat64()),
			}
			norm := float32(math.Sqrt(float64(v[0]*v[0] + v[1]*v[1] + v[2]*v[2])))
			l.Vectors[i] = []float32{v[0] / norm, v[1] / norm, v[2] / norm}
		}
		lambda := r.Float64()
		want := naiveMMR(l, lambda, 20)
		apply(t, rules.Config{Diversity: &rules.Diversity{Lambda: lambda, Top: 20}}, l)
		if got := order(l); !slices.Equal(got, want) {
			t.Fatalf("lambda %g: order %v, want %v", lambda, got, want)
		}
	}
	l := newList(5)
	apply(t, rules.Config{Diversity: &rules.Diversity{Lambda: 1, Top: 200}}, l)
	if want := []int{0, 1, 2, 3, 4}; !slices.Equal(order(l), want) {
		t.Errorf("lambda 1: order %v, want %v, by relevance alone", order(l), want)
	}
}

// The recorded propensity is the probability with which the item was drawn. For each item, the mean
// over many requests of 1/propensity, counted where the item is first, then estimates 1.
func TestExplorationPropensities(t *testing.T) {
	const requests = 20_000
	c := rules.Config{Exploration: &rules.Exploration{Top: 4, Temperature: 2}}
	first := map[int]float64{}   // by item: requests in which it is first
	inverse := map[int]float64{} // by item: mean of 1{item is first} / propensity
	for q := range requests {
		l := newList(6)
		l.Request.ID = fmt.Sprint(q)
		apply(t, c, l)
		if !slices.Equal(order(l)[4:], []int{4, 5}) {
			t.Fatalf("order %v: positions beyond top were explored", order(l))
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
		want := math.Exp(float64(6-i)/2) / total
		if math.Abs(first[i]/requests-want) > 0.02 {
			t.Errorf(
				"item %d is first in %.3f of the requests, want %.3f",
				i,
				first[i]/requests,
				want,
			)
		}
		if math.Abs(inverse[i]-1) > 0.15 {
			t.Errorf("item %d: mean inverse propensity %.3f, want 1", i, inverse[i])
		}
	}
}

func TestExplorationRepeatsAndKeepsPins(t *testing.T) {
	c := rules.Config{
		Exploration: &rules.Exploration{Top: 6, Temperature: 100},
		Pins:        []rules.Pin{{When: rules.Condition{Field: "id", Equals: "i5"}, Position: 2}},
	}
	var orders [][]int
	for range 2 {
		l := newList(6)
		apply(t, c, l)
		orders = append(orders, order(l))
		if l.Entries[1].Index != 5 || l.Propensity[1] != 1 {
			t.Errorf(
				"order %v, propensities %v: item 5 is not pinned to position 2",
				order(l),
				l.Propensity,
			)
		}
	}
	if !slices.Equal(orders[0], orders[1]) {
		t.Errorf("the same request has the orders %v and %v", orders[0], orders[1])
	}
}

// Scores with large differences must not make a propensity 0 or NaN.
func TestExplorationOfExtremeScores(t *testing.T) {
	l := newList(5)
	l.Entries[0].Score, l.Entries[4].Score = 1e6, -1e6
	apply(t, rules.Config{Exploration: &rules.Exploration{Top: 5, Temperature: 0.01}}, l)
	for _, p := range l.Propensity {
		if !(p > 0 && p <= 1) {
			t.Errorf("propensities %v", l.Propensity)
		}
	}
}

func TestConfigErrorsNameEveryProblem(t *testing.T) {
	missing := rules.Condition{Field: "x", Missing: true}
	_, err := rules.New(rules.Config{
		FilterSeen: &rules.Seen{},
		Filters: []rules.Condition{
			{Equals: 1},
			{Field: "x"},
			{Field: "x", Equals: 1, Missing: true},
		},
		Boosts:      []rules.Boost{{When: missing, Add: math.NaN()}},
		Diversity:   &rules.Diversity{Lambda: 2, Top: 1},
		Pins:        []rules.Pin{{When: missing}},
		Exploration: &rules.Exploration{Top: 1000},
	})
	if err == nil {
		t.Fatal("the configuration was accepted")
	}
	const want = `rules.filter_seen: list actions, or set shown: true
rules.filters[0]: field is missing
rules.filters[1]: set equals, in, lt or gt, or set missing alone
rules.filters[2]: set equals, in, lt or gt, or set missing alone
rules.boosts[0].add is NaN; choose a finite number other than 0
rules.pins[0].position is 0; positions count from 1
rules.diversity.lambda is 2; choose 0 to 1
rules.diversity.top is 1; choose 2 to 200
rules.exploration.temperature is 0; choose a number above 0
rules.exploration.top is 1000; choose 2 to 200`
	if err.Error() != want {
		t.Errorf("error:\n%v\nwant:\n%s", err, want)
	}
}

func BenchmarkDiversity(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	set, err := rules.New(rules.Config{Diversity: &rules.Diversity{Lambda: 0.7, Top: 100}})
	if err != nil {
		b.Fatal(err)
	}
	l := newList(100)
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
		if err := set[ranker.RuleDiversity].Apply(context.Background(), l); err != nil {
			b.Fatal(err)
		}
	}
}
