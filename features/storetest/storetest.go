// Package storetest is the behaviour that every feature store has: one suite, run by each of them
// against the real thing.
package storetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"relish/features"
	"relish/ranker"
)

// Store is what the suite needs of a store. Reopen closes it and opens it again on the same data.
type Store interface {
	ranker.Features
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
	Item(id string) (*ranker.Item, bool)
	DeleteItem(ctx context.Context, id string) (bool, error)
	Forget(ctx context.Context, userID string) error
}

// Backend makes stores for the suite.
type Backend struct {
	Open   func(t *testing.T, cfg features.Config) Store
	Reopen func(t *testing.T, s Store) Store
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for name, test := range map[string]func(*testing.T, Backend){
		"ReadYourWrites": readYourWrites, "Duplicates": duplicates, "Refusals": rejections, "MergeAndReplace": mergeAndReplace,
		"Histories": histories, "OrderDoesNotMatter": orderDoesNotMatter, "Forget": forget, "DeleteItem": deleteItem,
		"Reopen": reopen, "ConcurrentWriters": concurrentWriters, "Features": featureValues, "Inline": inline,
	} {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

// t0 is the suite's moment, in the past of any clock.
const t0 = int64(1_700_000_000_000)

func ptr[T any](v T) *T { return &v }

func schema(t *testing.T, f ...ranker.Feature) *ranker.Schema {
	t.Helper()
	s, err := ranker.NewSchema(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func impression(id, user string, at int64, items ...string) ranker.Event {
	return ranker.Event{Kind: ranker.EventImpression, ID: id, Time: at, UserID: user, Impression: &ranker.Impression{Items: items}}
}

func interaction(id, user, action, item string, at int64) ranker.Event {
	return ranker.Event{Kind: ranker.EventInteraction, ID: id, Time: at, UserID: user, ItemID: item, Action: action}
}

func item(id, itemID string, at int64, tags ...string) ranker.Event {
	return ranker.Event{Kind: ranker.EventItem, ID: id, Time: at, ItemID: itemID, Title: ptr("Title of " + itemID), Tags: tags}
}

func appendEvents(t *testing.T, s Store, events ...ranker.Event) []ranker.EventOutcome {
	t.Helper()
	out, err := s.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, s Store, sch *ranker.Schema, user string, items ...string) *ranker.RequestState {
	t.Helper()
	q := &ranker.FeatureQuery{User: user, Now: t0, Schema: sch}
	for _, id := range items {
		q.Candidates = append(q.Candidates, ranker.Candidate{ID: id})
	}
	st, err := s.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

var clicks = ranker.Feature{Name: "clicks", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"}

func almostEqual(a, b float32) bool {
	return math.IsNaN(float64(a)) && math.IsNaN(float64(b)) || math.Abs(float64(a-b)) <= 1e-6*max(1, math.Abs(float64(b)))
}

func wantColumns(t *testing.T, st *ranker.RequestState, want ...float64) {
	t.Helper()
	if len(st.Columns) != len(want) {
		t.Fatalf("columns %v, want %v", st.Columns, want)
	}
	for i, w := range want {
		if !almostEqual(st.Columns[i], float32(w)) {
			t.Errorf("column %d is %v, want %v (all: %v)", i, st.Columns[i], w, st.Columns)
		}
	}
}

func readYourWrites(t *testing.T, b Backend) {
	s, sch := b.Open(t, features.DefaultConfig()), schema(t, clicks)
	for i := 1; i <= 20; i++ {
		appendEvents(t, s, interaction(fmt.Sprint("e", i), "u", "click", "a", t0))
		wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(float64(i)))
	}
}

func duplicates(t *testing.T, b Backend) {
	s, sch := b.Open(t, features.DefaultConfig()), schema(t, clicks)
	out := appendEvents(t, s, interaction("e1", "u", "click", "a", t0), interaction("e1", "u", "click", "a", t0))
	if out[0].Duplicate || !out[1].Duplicate {
		t.Errorf("outcomes %+v", out)
	}
	s = b.Reopen(t, s)
	if out := appendEvents(t, s, interaction("e1", "u", "click", "a", t0)); !out[0].Duplicate {
		t.Error("the id was forgotten over a restart")
	}
	wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(1))
}

func rejections(t *testing.T, b Backend) {
	s := b.Open(t, features.DefaultConfig())
	out := appendEvents(t, s, interaction("e1", "", "click", "a", t0), interaction("e2", "u", "click", "a", math.MaxInt64/2), interaction("e3", "u", "click", "a", t0))
	if out[0].Err == nil || out[0].Err.Pointer != "/user" || out[1].Err == nil || out[1].Err.Code != "time_in_future" || out[2].Err != nil {
		t.Errorf("outcomes %+v", out)
	}
	bad := schema(t, ranker.Feature{Name: "x", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "dance"})
	if _, err := s.Read(t.Context(), &ranker.FeatureQuery{User: "u", Schema: bad}); err == nil {
		t.Error("a schema over an action that is not counted was taken")
	}
}

func mergeAndReplace(t *testing.T, b Backend) {
	s := b.Open(t, features.DefaultConfig())
	num := func(x float64) map[string]ranker.FieldValue {
		return map[string]ranker.FieldValue{"n": ranker.NumberValue(x)}
	}
	e := func(id string, at int64, title, text *string, f map[string]ranker.FieldValue, replace bool) ranker.Event {
		return ranker.Event{Kind: ranker.EventItem, ID: id, Time: at, ItemID: "a", Title: title, Text: text, Fields: f, Replace: replace}
	}
	appendEvents(t, s, e("1", t0+10, ptr("new"), nil, num(1), false))
	appendEvents(t, s, e("2", t0+5, ptr("old"), ptr("text"), num(9), false)) // older: fills only what was not said
	check := func(want ranker.Item) {
		t.Helper()
		got, ok := s.Item("a")
		if !ok {
			t.Fatal("the item is unknown")
		}
		if d := cmp.Diff(want, *got); d != "" {
			t.Error(d)
		}
	}
	check(ranker.Item{ID: "a", Title: "new", Text: "text", Fields: num(1)})
	appendEvents(t, s, e("3", t0+7, nil, ptr("newer text"), nil, false))
	check(ranker.Item{ID: "a", Title: "new", Text: "newer text", Fields: num(1)})
	appendEvents(t, s, e("4", t0+20, ptr("only this"), nil, nil, true))
	check(ranker.Item{ID: "a", Title: "only this"})
}

func histories(t *testing.T, b Backend) {
	cfg := features.DefaultConfig()
	cfg.Recent, cfg.Shown = 3, 4
	s, sch := b.Open(t, cfg), schema(t, clicks)
	appendEvents(t, s, item("i", "a", t0), interaction("e1", "u", "click", "a", t0+30), interaction("e2", "u", "view", "b", t0+10), interaction("e3", "u", "click", "c", t0+20),
		interaction("e4", "u", "click", "d", t0+10), interaction("e5", "u", "dance", "a", t0+99))
	st := read(t, s, sch, "u")
	var got []string
	for _, in := range st.Recent {
		got = append(got, in.Item)
	}
	if want := []string{"a", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("recent %v, want %v: newest first by event time, ties by arrival", got, want)
	}
	if st.RecentItems[0] == nil || st.RecentItems[0].Title != "Title of a" || st.RecentItems[1] != nil {
		t.Errorf("history %v", st.RecentItems)
	}
	appendEvents(t, s, impression("s1", "u", t0+15, "c", "x"), impression("s2", "u", t0+16, "y", "z", "w"))
	st = read(t, s, sch, "u")
	if len(st.Shown) != 4 {
		t.Fatalf("shown %v", st.Shown)
	}
	for _, sh := range st.Shown {
		if sh.Item == "c" && !sh.Clicked || sh.Item != "c" && sh.Clicked {
			t.Errorf("%+v: only c was clicked after it was shown", sh)
		}
	}
}

// RandomEvents makes a random stream over four users (u0 to u3) and eight items (it0 to it7), items first.
func RandomEvents(rng *rand.Rand, n int) []ranker.Event {
	var out []ranker.Event
	for i := range 8 {
		out = append(out, item(fmt.Sprint("i", i), fmt.Sprint("it", i), t0-1e9, fmt.Sprint("tag", i%3), fmt.Sprint("tag", 3+i%2)))
	}
	for i := range n {
		at := t0 - rng.Int64N(30*24*3600*1000)
		u, it := fmt.Sprint("u", rng.IntN(4)), fmt.Sprint("it", rng.IntN(8))
		if rng.IntN(3) == 0 {
			out = append(out, impression(fmt.Sprint("e", i), u, at, it, fmt.Sprint("it", rng.IntN(8))))
		} else {
			out = append(out, interaction(fmt.Sprint("e", i), u, []string{"view", "click", "purchase"}[rng.IntN(3)], it, at))
		}
	}
	return out
}

// AllCountersSchema names every counter at several half-lives, so that two states that differ give other columns.
func AllCountersSchema(t *testing.T) *ranker.Schema {
	var f []ranker.Feature
	for _, scope := range []string{ranker.ScopeItem, ranker.ScopeField, ranker.ScopeUser, ranker.ScopeUserField, ranker.ScopeGlobal} {
		for _, half := range []string{"all", "1h", "7d"} {
			f = append(f, ranker.Feature{Name: "c" + scope + half, Kind: ranker.KindCount, Scope: scope, Action: "click", Field: "tags", HalfLife: half},
				ranker.Feature{Name: "r" + scope + half, Kind: ranker.KindRate, Scope: scope, Action: "any", Field: "tags", HalfLife: half})
		}
	}
	f = append(f, ranker.Feature{Name: "over", Kind: ranker.KindInteracted, Field: "tags"}, ranker.Feature{Name: "h", Kind: ranker.KindHistory}, ranker.Feature{Name: "age", Kind: ranker.KindAge})
	return schema(t, f...)
}

// State after any order of the same interactions and impressions is the same: histories exactly,
// decayed sums within rounding.
func orderDoesNotMatter(t *testing.T, b Backend) {
	rng := rand.New(rand.NewPCG(1, 1))
	evs := RandomEvents(rng, 80)
	sch := AllCountersSchema(t)
	cfg := features.DefaultConfig()
	one, two := b.Open(t, cfg), b.Open(t, cfg)
	appendEvents(t, one, slices.Clone(evs)...)
	shuffled := slices.Clone(evs)
	rest := shuffled[8:] // items first: a value is counted once it is known
	rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	appendEvents(t, two, shuffled...)
	for u := range 4 {
		a, c := read(t, one, sch, fmt.Sprint("u", u), "it0", "it3", "it7"), read(t, two, sch, fmt.Sprint("u", u), "it0", "it3", "it7")
		for i := range a.Columns {
			if !almostEqual(a.Columns[i], c.Columns[i]) {
				t.Errorf("user %d: column %d is %v in one order, %v in another", u, i, a.Columns[i], c.Columns[i])
			}
		}
		if d := cmp.Diff(a.Recent, c.Recent); d != "" {
			t.Errorf("user %d: %s", u, d)
		}
	}
}

func forget(t *testing.T, b Backend) {
	s, sch := b.Open(t, features.DefaultConfig()), schema(t, clicks, ranker.Feature{Name: "h", Kind: ranker.KindHistory})
	appendEvents(t, s, interaction("e1", "u", "click", "a", t0), interaction("e2", "v", "click", "a", t0))
	if err := s.Forget(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if st := read(t, s, sch, "u", "a"); len(st.Recent) != 0 || st.Columns[1] != 0 {
			t.Errorf("after Forget: %+v", st.Recent)
		}
		if st := read(t, s, sch, "v", "a"); len(st.Recent) != 1 {
			t.Errorf("the other user has %+v", st.Recent)
		}
		s = b.Reopen(t, s)
	}
	appendEvents(t, s, interaction("e3", "u", "click", "b", t0))
	if st := read(t, s, sch, "u"); len(st.Recent) != 1 {
		t.Errorf("a user who comes back has %+v", st.Recent)
	}
}

func deleteItem(t *testing.T, b Backend) {
	s := b.Open(t, features.DefaultConfig())
	appendEvents(t, s, item("i", "a", t0))
	if known, err := s.DeleteItem(t.Context(), "a"); err != nil || !known {
		t.Fatalf("%v %v", known, err)
	}
	if _, ok := s.Item("a"); ok {
		t.Error("the item is still there")
	}
	if known, err := s.DeleteItem(t.Context(), "a"); err != nil || known {
		t.Errorf("a second time: %v %v", known, err)
	}
}

// State after a restart is what it was, bit for bit.
func reopen(t *testing.T, b Backend) {
	s, sch := b.Open(t, features.DefaultConfig()), AllCountersSchema(t)
	appendEvents(t, s, RandomEvents(rand.New(rand.NewPCG(2, 2)), 100)...)
	before := read(t, s, sch, "u1", "it0", "it1", "it5")
	s = b.Reopen(t, s)
	if d := cmp.Diff(before, read(t, s, sch, "u1", "it0", "it1", "it5"), cmpopts.EquateNaNs(), cmp.AllowUnexported(ranker.ItemInfo{})); d != "" {
		t.Error(d)
	}
}

func concurrentWriters(t *testing.T, b Backend) {
	s, sch := b.Open(t, features.DefaultConfig()), schema(t, clicks)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				if _, err := s.Append(context.Background(), []ranker.Event{interaction(fmt.Sprint(w, "-", i), fmt.Sprint("u", w), "click", "a", t0)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(200))
}

func featureValues(t *testing.T, b Backend) {
	s := b.Open(t, features.DefaultConfig())
	a := item("i1", "a", t0-2*3600*1000, "x", "y")
	a.Fields = map[string]ranker.FieldValue{"price": ranker.NumberValue(3), "on": ranker.BoolValue(true), "kind": ranker.StringValue("film"), "made": ranker.NumberValue(float64(t0/1000 - 3600))}
	a.Text = ptr("three plain words")
	appendEvents(t, s, a, item("i2", "b", t0, "y", "z"), ranker.Event{Kind: ranker.EventUser, ID: "u1", Time: t0, UserID: "u", Fields: map[string]ranker.FieldValue{"age": ranker.NumberValue(33)}},
		impression("s1", "u", t0, "a", "b"), impression("s2", "v", t0, "a", "b"), interaction("c1", "u", "click", "a", t0))
	lo := func(p float64) float64 { return math.Log(p / (1 - p)) }
	g := 0.25 // one click on four shown
	sm := func(a, n, prior float64) float64 { return (a + 10*prior) / (n + 10) }
	field := sm(1, 2, g) // value x: one click on two shown; value y: one on four
	for _, c := range []struct {
		f    ranker.Feature
		want []float64 // for a, b and an unknown item, all columns
	}{
		{ranker.Feature{Kind: ranker.KindNumber, Field: "price"}, []float64{3, math.NaN(), math.NaN()}},
		{ranker.Feature{Kind: ranker.KindNumber, Field: "user.age"}, []float64{33, 33, 33}},
		{ranker.Feature{Kind: ranker.KindBoolean, Field: "on"}, []float64{1, math.NaN(), math.NaN()}},
		{ranker.Feature{Kind: ranker.KindCategory, Field: "kind", Values: []string{"book", "film"}}, []float64{0, 1, math.NaN(), math.NaN(), math.NaN(), math.NaN()}},
		{ranker.Feature{Kind: ranker.KindCategory, Field: "kind", Values: []string{"book", "film"}, Encode: "index"}, []float64{1, math.NaN(), math.NaN()}},
		{ranker.Feature{Kind: ranker.KindWordCount, Field: "text"}, []float64{3, 0, math.NaN()}},
		{ranker.Feature{Kind: ranker.KindAge}, []float64{math.Log1p(2), 0, math.NaN()}},
		{ranker.Feature{Kind: ranker.KindAge, Field: "made"}, []float64{math.Log1p(1), math.NaN(), math.NaN()}},
		{ranker.Feature{Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: features.ActionImpression}, []float64{math.Log1p(2), math.Log1p(2), 0}},
		{ranker.Feature{Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "click"}, []float64{lo(sm(1, 2, g)) - lo(g), lo(sm(0, 2, g)) - lo(g), 0}},
		{ranker.Feature{Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: "any"}, []float64{lo(sm(1, 2, g)) - lo(g), lo(sm(1, 2, g)) - lo(g), lo(sm(1, 2, g)) - lo(g)}},
		{ranker.Feature{Kind: ranker.KindRate, Scope: ranker.ScopeField, Action: "click", Field: "tags"}, []float64{
			(lo(field) - lo(g) + lo(sm(1, 4, g)) - lo(g)) / 2, (lo(sm(1, 4, g)) - lo(g) + lo(sm(0, 2, g)) - lo(g)) / 2, math.NaN()}},
		{ranker.Feature{Kind: ranker.KindRate, Scope: ranker.ScopeUserField, Action: "click", Field: "tags"}, []float64{
			(lo(sm(1, 1, field)) - lo(field) + lo(sm(1, 2, sm(1, 4, g))) - lo(sm(1, 4, g))) / 2,
			(lo(sm(1, 2, sm(1, 4, g))) - lo(sm(1, 4, g)) + lo(sm(0, 1, sm(0, 2, g))) - lo(sm(0, 2, g))) / 2, math.NaN()}},
		{ranker.Feature{Kind: ranker.KindInteracted, Field: "tags"}, []float64{1, 0.5, math.NaN()}},
		{ranker.Feature{Kind: ranker.KindHistory}, []float64{math.Log1p(1), math.Log1p(1), math.Log1p(1)}},
		{ranker.Feature{Kind: ranker.KindTimeOfDay}, []float64{22 + 13.0/60, 22 + 13.0/60, 22 + 13.0/60}},
		{ranker.Feature{Kind: ranker.KindTable, Column: "t.c"}, []float64{math.NaN(), math.NaN(), math.NaN()}},
	} {
		c.f.Name = c.f.Kind + "/" + c.f.Scope + "/" + c.f.Field
		t.Run(c.f.Name, func(t *testing.T) { wantColumns(t, read(t, s, schema(t, c.f), "u", "a", "b", "new"), c.want...) })
	}
}

// An inline part holds for one request and hides the stored one.
func inline(t *testing.T, b Backend) {
	s := b.Open(t, features.DefaultConfig())
	appendEvents(t, s, item("i", "a", t0, "x"))
	sch := schema(t, ranker.Feature{Name: "p", Kind: ranker.KindNumber, Field: "price"})
	q := &ranker.FeatureQuery{User: "u", Now: t0, Schema: sch, Candidates: []ranker.Candidate{
		{ID: "a", Inline: &ranker.Item{Text: "inline", Fields: map[string]ranker.FieldValue{"price": ranker.NumberValue(7)}}}, {ID: "new", Inline: &ranker.Item{Title: "N"}}}}
	st, err := s.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if st.Columns[0] != 7 || st.Items[0].Title != "Title of a" || st.Items[0].Text != "inline" || st.Items[1].Title != "N" || st.Items[1].TextKey == 0 {
		t.Errorf("got %v %+v %+v", st.Columns, st.Items[0], st.Items[1])
	}
	if it, _ := s.Item("a"); it.Text != "" {
		t.Error("an inline text was kept")
	}
}
