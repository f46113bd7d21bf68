package features_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/features/storetest"
	"relish/ranker"
)

const (
	t0   = int64(1_700_000_000_000)
	hour = int64(3_600_000)
	day  = 24 * hour
)

// feed is a state that applies events as a log gives them, one each millisecond.
type feed struct {
	*features.State
	seq uint64
}

func newFeed(cfg features.Config) *feed { return &feed{State: features.New(cfg)} }

func (f *feed) add(events ...ranker.Event) {
	for _, e := range events {
		f.seq++
		if e.Time == 0 {
			e.Time = t0
		}
		f.Apply(&event.Record{Seq: f.seq, Arrival: t0 + int64(f.seq), Event: e})
	}
}

func did(user, action, item string, at int64) ranker.Event {
	return ranker.Event{
		Kind:   ranker.EventInteraction,
		ID:     "e",
		UserID: user,
		ItemID: item,
		Action: action,
		Time:   at,
	}
}

func shown(user string, at int64, items ...string) ranker.Event {
	return ranker.Event{Kind: ranker.EventImpression, ID: "e", UserID: user, Time: at,
		Impression: &ranker.Impression{Items: items}}
}

func item(id string, tags ...string) ranker.Event {
	title := "title of " + id
	return ranker.Event{
		Kind:   ranker.EventItem,
		ID:     "e",
		ItemID: id,
		Title:  &title,
		Tags:   tags,
		Time:   t0,
	}
}

func schemaOf(t testing.TB, f ...ranker.Feature) *ranker.Schema {
	t.Helper()
	for i := range f {
		if f[i].Name == "" {
			f[i].Name = fmt.Sprint("f", i)
		}
	}
	s, err := ranker.NewSchema(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(
	t testing.TB,
	s *features.State,
	sch *ranker.Schema,
	now int64,
	user string,
	items ...string,
) *ranker.RequestState {
	t.Helper()
	q := &ranker.FeatureQuery{User: user, Now: now, Schema: sch}
	for _, id := range items {
		q.Candidates = append(q.Candidates, ranker.Candidate{ID: id})
	}
	st, err := s.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func near(a float32, b float64) bool {
	return a != a && math.IsNaN(b) || math.Abs(float64(a)-b) <= 1e-6*max(1, math.Abs(b))
}

// An event weighs half after one half-life, in any order of arrival. With a clock before the event
// nothing decays.
func TestDecay(t *testing.T) {
	clicks := func(half string) ranker.Feature {
		return ranker.Feature{
			Kind:     ranker.KindCount,
			Scope:    ranker.ScopeItem,
			Action:   "click",
			HalfLife: half,
		}
	}
	sch := schemaOf(t, clicks("all"), clicks("1h"), clicks("7d"))
	weekly := math.Exp2(-1.0 / 168) // decay of one hour with a half-life of seven days
	twice := [3]float64{2, 1.5, 1 + weekly}
	for name, c := range map[string]struct {
		at   []int64
		now  int64
		want [3]float64 // counts, before ln(1 + x)
	}{
		"now":                    {[]int64{t0}, t0, [3]float64{1, 1, 1}},
		"after an hour":          {[]int64{t0}, t0 + hour, [3]float64{1, 0.5, weekly}},
		"after a week":           {[]int64{t0}, t0 + 7*day, [3]float64{1, 0, 0.5}},
		"two events":             {[]int64{t0 - hour, t0}, t0, twice},
		"in reverse order":       {[]int64{t0, t0 - hour}, t0, twice},
		"clock before the event": {[]int64{t0}, t0 - day, [3]float64{1, 1, 1}},
		"after years":            {[]int64{1}, t0, [3]float64{1, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFeed(storetest.Config())
			for _, at := range c.at {
				s.add(did("u", "click", "a", at))
			}
			got := read(t, s.State, sch, c.now, "u", "a").Columns
			for i, want := range c.want {
				if !near(got[i], math.Log1p(want)) {
					t.Errorf("column %d is %g, want %g", i, got[i], math.Log1p(want))
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	cfg := storetest.Config()
	cfg.UserValues, cfg.FieldValues, cfg.MaxItems, cfg.MaxUsers = 3, 4, 100, 50
	cfg.Recent, cfg.Shown = 100, 90
	s := newFeed(cfg)
	for i := range 300 {
		id, user := fmt.Sprint("i", i), fmt.Sprint("u", i)
		s.add(
			item(id, fmt.Sprint("tag", i)), did("fan", "click", id, t0+int64(i)),
			shown("fan", t0+int64(i), id), did(user, "click", id, t0),
		)
	}
	items, users, values := s.Sizes()
	if items > 102 || users > 52 || values > 4 {
		t.Errorf("%d items, %d users, %d values are kept", items, users, values)
	}
	st := read(t, s.State, schemaOf(t, ranker.Feature{Kind: ranker.KindHistory}), t0, "fan")
	if len(st.Recent) != 100 || len(st.Shown) != 90 || st.Recent[0].Item != "i299" ||
		st.Recent[99].Item != "i200" {
		t.Errorf("%d recent, %d shown, newest %+v", len(st.Recent), len(st.Shown), st.Recent[0])
	}
	// The newest values replaced the ones that were untouched longest.
	own := schemaOf(
		t,
		ranker.Feature{
			Kind:   ranker.KindCount,
			Scope:  ranker.ScopeUserField,
			Field:  "tags",
			Action: "click",
		},
	)
	if got := read(t, s.State, own, t0+300, "fan", "i299", "i250").Columns; got[0] == 0 ||
		got[1] != 0 {
		t.Errorf("the user's counters: %v", got)
	}
	if s.Item("i299") == nil || s.Item("i0") != nil {
		t.Error("other items than the oldest were dropped")
	}
}

// Items and users without an event for Config.MaxAge are dropped. The arrival time counts.
func TestMaxAge(t *testing.T) {
	cfg := storetest.Config()
	cfg.MaxAge = "64h"
	s := features.New(cfg)
	const hour = int64(3_600_000)
	events := []ranker.Event{
		item("old", "x"), did("gone", "click", "old", t0),
		item("kept", "x"), did("stays", "click", "kept", t0),
	}
	for i, e := range events {
		s.Apply(&event.Record{Seq: uint64(i), Arrival: t0, Event: e})
	}
	for h := range int64(66) { // a step counts as at most one hour
		e := did("new", "view", "fresh", t0)
		if h == 59 {
			e = did("stays", "view", "kept", t0-900*hour)
		}
		s.Apply(&event.Record{Seq: uint64(10 + h), Arrival: t0 + (h+1)*hour, Event: e})
	}
	if s.ItemState("old") != nil || s.UserState("gone") != nil {
		t.Error("an item or user without an event for 66 hours was kept")
	}
	if s.ItemState("kept") == nil || s.UserState("stays") == nil || s.UserState("new") == nil {
		t.Error("an item or user with an event within 64 hours was dropped")
	}
}

// Which of a user's values are dropped depends on the events, not on when they arrived.
func TestDroppedValuesDoNotDependOnArrival(t *testing.T) {
	cfg := storetest.Config()
	cfg.UserValues = 2
	sch := schemaOf(t, ranker.Feature{
		Kind: ranker.KindCount, Scope: ranker.ScopeUserField, Action: features.ActionImpression,
		Field: "tags",
	})
	events := []ranker.Event{
		item("a", "x"), item("b", "w"), item("c", "z"),
		shown("u", t0, "a", "b"), did("u", "click", "a", t0), shown("u", t0+1, "c"),
	}
	var want []float32
	for step := range int64(3) { // all at once, or one after the other
		s := features.New(cfg)
		for i, e := range events {
			at := t0 + 1000 + step*int64(i)
			s.Apply(&event.Record{Seq: uint64(i + 1), Arrival: at, Event: e})
		}
		got := read(t, s, sch, t0+day, "u", "a", "b", "c").Columns
		if step == 0 {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("with %d ms between arrivals: %v, want %v", step, got, want)
		}
	}
}

// One record that arrives a year ahead, because a clock was wrong or the server was off, drops
// nothing. Afterwards items and users grow old as before.
func TestLeapOfTheClockDropsNothing(t *testing.T) {
	s := features.New(storetest.Config())
	seq := uint64(0)
	add := func(arrival int64, e ranker.Event) {
		seq++
		s.Apply(&event.Record{Seq: seq, Arrival: arrival, Event: e})
	}
	const items = 1000
	for i := range items {
		add(t0, item(fmt.Sprint("i", i)))
		add(t0, did(fmt.Sprint("u", i), "click", fmt.Sprint("i", i), t0))
	}
	for _, leap := range []int64{366, 800} {
		add(t0+leap*day, did("u0", "click", "i0", t0))
		if n, users, _ := s.Sizes(); n != items || users != items {
			t.Fatalf("after a leap of %d days %d items and %d users are left", leap, n, users)
		}
	}
	for d := range int64(366) {
		add(t0+(800+d)*day, did("u0", "click", "i0", t0))
	}
	if n, users, _ := s.Sizes(); n != 1 || users != 1 {
		t.Errorf("a year later %d items and %d users are left, want those with events", n, users)
	}
}

// An event time ahead of the arrival counts as the arrival. One such event leaves the decayed
// counters as they are.
func TestEventAheadOfItsArrival(t *testing.T) {
	feature := func(name, action string) ranker.Feature {
		return ranker.Feature{
			Name: name, Kind: ranker.KindCount, Scope: ranker.ScopeGlobal, Action: action,
			HalfLife: "1h",
		}
	}
	sch := schemaOf(t, feature("shown", features.ActionImpression), feature("clicks", "click"))
	f := newFeed(storetest.Config())
	for range 1000 {
		f.add(shown("u", t0, "a"))
	}
	for range 100 {
		f.add(did("u", "click", "a", t0))
	}
	f.add(did("u", "click", "a", t0+day))
	got := read(t, f.State, sch, t0+2000, "u", "a").Columns
	for i, want := range []float64{math.Log1p(1000), math.Log1p(101)} {
		// The events arrived within a second, which is less than a thousandth of the half-life.
		if math.Abs(float64(got[i])-want) > 1e-3 {
			t.Errorf("counter %d is %g, want %g", i, got[i], want)
		}
	}
	if at := f.UserState("u").History(); len(at) == 0 {
		t.Error("the event is not in the history")
	}
}

// A result of Read shares nothing with the state: later events do not change it.
func TestReadResultsDoNotChange(t *testing.T) {
	s := newFeed(storetest.Config())
	s.add(
		item("a", "x"),
		ranker.Event{
			Kind:   ranker.EventUser,
			ID:     "e",
			UserID: "u",
			Fields: map[string]ranker.FieldValue{"n": ranker.NumberValue(1)},
		},
		shown("u", t0, "a"),
		did("u", "click", "a", t0),
	)
	sch := schemaOf(
		t, ranker.Feature{Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
	)
	before := read(t, s.State, sch, t0, "u", "a")
	columns, recent, shownBefore, title := slices.Clone(before.Columns), slices.Clone(
		before.Recent,
	), slices.Clone(before.Shown), before.Items[0].Title()
	other := "another title"
	s.add(
		did("u", "click", "b", t0+1),
		did("u", "click", "a", t0-1),
		shown("u", t0+2, "b", "a"),
		ranker.Event{Kind: ranker.EventItem, ID: "e", ItemID: "a", Title: &other, Time: t0 + 9},
		ranker.Event{
			Kind:   ranker.EventUser,
			ID:     "e",
			UserID: "u",
			Time:   t0 + 9,
			Fields: map[string]ranker.FieldValue{"n": ranker.NumberValue(2)},
		},
	)
	if !slices.Equal(before.Columns, columns) || !slices.Equal(before.Recent, recent) ||
		!slices.Equal(before.Shown, shownBefore) ||
		before.Items[0].Title() != title ||
		before.UserFields["n"].Num != 1 {
		t.Errorf("the result became %+v", before)
	}
}

// "impression" and "any" are names for schemas. Interactions with these actions count nothing.
func TestReservedActionsCountNothing(t *testing.T) {
	f := newFeed(storetest.Config())
	f.add(
		item("a"), did("u", features.ActionAny, "a", t0),
		did("u", features.ActionImpression, "a", t0),
	)
	sch := schemaOf(
		t,
		ranker.Feature{
			Name:   "shown",
			Kind:   ranker.KindCount,
			Scope:  ranker.ScopeItem,
			Action: features.ActionImpression,
		},
		ranker.Feature{
			Name:   "any",
			Kind:   ranker.KindCount,
			Scope:  ranker.ScopeItem,
			Action: features.ActionAny,
		},
		ranker.Feature{Name: "history", Kind: ranker.KindHistory},
	)
	if got := read(t, f.State, sch, t0, "u", "a").Columns; !slices.Equal(got, []float32{0, 0, 0}) {
		t.Errorf("counters %v", got)
	}
}

func TestContextFeatures(t *testing.T) {
	sch := schemaOf(
		t,
		ranker.Feature{Kind: ranker.KindContext, Field: "n"},
		ranker.Feature{
			Kind:   ranker.KindContext,
			Field:  "device",
			Values: []string{"phone", "desk"},
		},
		ranker.Feature{Kind: ranker.KindContext, Field: "on"},
	)
	s := newFeed(storetest.Config())
	q := &ranker.FeatureQuery{
		User:       "u",
		Now:        t0,
		Schema:     sch,
		Candidates: []ranker.Candidate{{ID: "a"}, {ID: "b"}},
		Context: map[string]ranker.FieldValue{
			"n":      ranker.NumberValue(7),
			"device": ranker.StringValue("desk"),
			"on":     ranker.BoolValue(true),
		},
	}
	st, err := s.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{7, 0, 1, 1, 7, 0, 1, 1} {
		if !near(st.Columns[i], want) {
			t.Fatalf("columns %v", st.Columns)
		}
	}
	q.Context = nil
	if st, err = s.Read(q); err != nil {
		t.Fatal(err)
	}
	for _, x := range st.Columns {
		if x == x {
			t.Fatalf("columns without a context: %v", st.Columns)
		}
	}
}

func TestSchemaOfUncountedStateIsRejected(t *testing.T) {
	s := newFeed(storetest.Config())
	for _, f := range []ranker.Feature{
		{Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "dance"},
		{Kind: ranker.KindRate, Scope: ranker.ScopeField, Action: "click", Field: "colour"},
		{Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click", HalfLife: "3d"},
		{Kind: ranker.KindInteracted, Field: "colour"},
	} {
		if _, err := s.Read(&ranker.FeatureQuery{User: "u", Schema: schemaOf(t, f)}); err == nil {
			t.Errorf("Read accepted %+v", f)
		}
	}
}

// random applies n random events over a few users and items.
func random(f *feed, r *rand.Rand, n int) {
	for range n {
		f.add(randomEvent(r))
	}
}

func randomEvent(r *rand.Rand) ranker.Event {
	words := []string{"sea", "bread", "jazz", "moon", "ghost", "ü"}
	user, id := fmt.Sprint("u", r.IntN(5)), fmt.Sprint("i", r.IntN(12))
	at := t0 - r.Int64N(60*day)
	switch r.IntN(6) {
	case 0:
		e := item(id, words[r.IntN(6)], words[r.IntN(6)])
		e.Time, e.Replace = at, r.IntN(4) == 0
		e.Fields = map[string]ranker.FieldValue{
			"price":  ranker.NumberValue(r.Float64()),
			"genres": ranker.StringsValue([]string{words[r.IntN(6)]}),
			"on":     ranker.BoolValue(r.IntN(2) == 0),
			"nums":   {Kind: ranker.Numbers, Nums: []float64{1, r.Float64()}},
		}
		return e
	case 1:
		return ranker.Event{
			Kind:   ranker.EventUser,
			ID:     "e",
			UserID: user,
			Time:   at,
			Fields: map[string]ranker.FieldValue{words[r.IntN(6)]: ranker.StringValue("v")},
		}
	case 2, 3:
		return shown(user, at, id, fmt.Sprint("i", r.IntN(12)), fmt.Sprint("i", r.IntN(12)))
	}
	return did(user, []string{"view", "click", "purchase", "dance"}[r.IntN(4)], id, at)
}

// wide returns a schema with every counter.
func wide(t testing.TB) *ranker.Schema {
	var f []ranker.Feature
	for _, scope := range []string{
		ranker.ScopeItem, ranker.ScopeField, ranker.ScopeUser, ranker.ScopeUserField,
		ranker.ScopeGlobal,
	} {
		for _, half := range []string{"all", "1d", "30d"} {
			f = append(
				f,
				ranker.Feature{
					Kind:     ranker.KindCount,
					Scope:    scope,
					Action:   "click",
					Field:    "tags",
					HalfLife: half,
				},
				ranker.Feature{
					Kind:     ranker.KindRate,
					Scope:    scope,
					Action:   "any",
					Field:    "genres",
					HalfLife: half,
				},
			)
		}
	}
	f = append(
		f, ranker.Feature{Kind: ranker.KindAge},
		ranker.Feature{Kind: ranker.KindNumber, Field: "price"},
		ranker.Feature{Kind: ranker.KindInteracted, Field: "tags", Action: "click"},
	)
	return schemaOf(t, f...)
}

func BenchmarkApply(b *testing.B) {
	f := newFeed(storetest.Config())
	random(f, rand.New(rand.NewPCG(1, 1)), 1000)
	b.ReportAllocs()
	for b.Loop() {
		f.add(did("u1", "click", "i3", t0))
	}
}

// A Read allocates its result only, whatever the number of candidates, and at most eight values for
// each candidate that changed since it was read last.
func TestReadAllocations(t *testing.T) {
	f := newFeed(storetest.Config())
	for i := range 2000 {
		f.add(item(fmt.Sprint("i", i), "jazz", fmt.Sprint("tag", i%50)))
	}
	random(f, rand.New(rand.NewPCG(1, 1)), 500)
	sch := wide(t)
	allocations := func(n int, change func()) float64 {
		q := &ranker.FeatureQuery{User: "u1", Now: t0, Schema: sch}
		for i := range n {
			q.Candidates = append(q.Candidates, ranker.Candidate{ID: fmt.Sprint("i", i)})
		}
		return testing.AllocsPerRun(20, func() {
			change()
			if _, err := f.Read(q); err != nil {
				t.Fatal(err)
			}
		})
	}
	none := func() {}
	few, many := allocations(10, none), allocations(2000, none)
	if few > 40 || many > 40 { // about 10; more under the race detector, which empties pools
		t.Errorf("%g allocations for 10 candidates, %g for 2,000", few, many)
	}
	events := []ranker.Event{item("i3", "jazz", "tag1"), item("i4", "jazz", "tag2")}
	for i := range events {
		events[i].Replace = true
	}
	describe := func() { f.add(events...) }
	applied := testing.AllocsPerRun(20, describe)
	// One for the ids of its values, one for the row and two for the content cells of each item.
	if got := allocations(2000, describe); got > many+applied+2*4+1 {
		t.Errorf("%g allocations after two of 2,000 candidates changed, %g of them to apply the "+
			"events, and %g without a change", got, applied, many)
	}
}

// The items of one list are kept in reverse, whose positions a signal reads.
func TestShownKeepsTheOrderOfAList(t *testing.T) {
	s := newFeed(storetest.Config())
	s.add(shown("u", t0, "a", "b", "c"), did("u", "click", "b", t0+1), shown("u", t0+5, "d", "e"))
	st := read(t, s.State, schemaOf(t, ranker.Feature{Kind: ranker.KindHistory}), t0+9, "u")
	var order []string
	for _, x := range st.Shown {
		order = append(order, x.Item)
	}
	if want := []string{"e", "d", "c", "b", "a"}; !slices.Equal(order, want) {
		t.Errorf("kept %v, want %v", order, want)
	}
}
