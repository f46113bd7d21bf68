package storetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"relish/features"
	"relish/ranker"
)

// Config returns the default configuration, except that every interaction counts: tests repeat one
// click to see what is lost or counted twice. Histories are long, since what was pushed out of one
// counts as a repeat.
func Config() features.Config {
	cfg := features.DefaultConfig()
	cfg.DailyListed, cfg.DailyUnlisted, cfg.NewcomerExcess = 1000, 1000, 0
	cfg.Recent = ranker.MaxHistory
	return cfg
}

func readYourWrites(t *testing.T, b Backend) {
	s, sch := b.Open(t, Config()), schema(t, clicks)
	for i := 1; i <= 20; i++ {
		appendEvents(t, s, interaction(fmt.Sprint("e", i), "u", "click", "a", t0))
		wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(float64(i)))
	}
}

func duplicates(t *testing.T, b Backend) {
	s, sch := b.Open(t, Config()), schema(t, clicks)
	out := appendEvents(
		t, s, interaction("e1", "u", "click", "a", t0), interaction("e1", "u", "click", "a", t0),
	)
	if out[0].Duplicate || !out[1].Duplicate {
		t.Errorf("outcomes %+v", out)
	}
	s = b.Reopen(t, s)
	if out := appendEvents(t, s, interaction("e1", "u", "click", "a", t0)); !out[0].Duplicate {
		t.Error("the store lost the id over a restart")
	}
	wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(1))
}

// An id is unique within its source, that of an impression over all sources. A repeat of an event
// changes nothing, and another event with a known id is rejected, also after a restart.
func idConflicts(t *testing.T, b Backend) {
	s, sch := b.Open(t, Config()), schema(t, clicks)
	from := func(source string, e ranker.Event) ranker.Event {
		e.Source = source
		return e
	}
	wantOutcomes := func(want string, events ...ranker.Event) {
		t.Helper()
		got := ""
		for _, o := range appendEvents(t, s, events...) {
			switch {
			case o.Duplicate:
				got += "d"
			case o.Err == nil:
				got += "a"
			case o.Err.Code == "id_conflict" && o.Err.Pointer == "/id":
				got += "c"
			default:
				t.Error(o.Err)
			}
		}
		if got != want {
			t.Errorf("got %s, want %s (a accepted, d duplicate, c conflict)", got, want)
		}
	}
	first := interaction("1", "alice", "click", "a", t0)
	untimed := interaction("2", "alice", "click", "a", 0)
	list := impression("3", "alice", t0, "a", "b")
	others := func() {
		t.Helper()
		wantOutcomes("dddcccc", first, untimed, from("key:web", list),
			interaction("1", "bob", "click", "a", t0),
			interaction("1", "alice", "click", "a", t0+1),
			interaction("2", "alice", "click", "b", 0),
			from("key:web", impression("3", "alice", t0, "b", "a")))
	}
	wantOutcomes("aacaa", first, untimed, interaction("1", "bob", "click", "a", t0), list,
		from("key:web", interaction("1", "bob", "click", "a", t0)))
	others()
	s = b.Reopen(t, s)
	others()
	wantOutcomes("dca", from("key:web", interaction("1", "bob", "click", "a", t0)),
		from("key:web", first), from("stream:clicks", first))
	wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(4))
}

func rejections(t *testing.T, b Backend) {
	s := b.Open(t, Config())
	out := appendEvents(
		t, s, interaction("e1", "", "click", "a", t0),
		interaction("e2", "u", "click", "a", math.MaxInt64/2),
		interaction("e3", "u", "click", "a", t0),
	)
	if out[0].Err == nil || out[0].Err.Pointer != "/user" || out[1].Err == nil ||
		out[1].Err.Code != "time_in_future" ||
		out[2].Err != nil {
		t.Errorf("outcomes %+v", out)
	}
	bad := schema(
		t,
		ranker.Feature{Name: "x", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "dance"},
	)
	if _, err := s.Read(t.Context(), &ranker.FeatureQuery{User: "u", Schema: bad}); err == nil {
		t.Error("Read accepted a schema with an action that is not counted")
	}
}

// A time up to ten minutes ahead counts as the arrival: the history is in the order of arrival,
// and the decayed counts stay. A later time is rejected.
func aheadOfArrival(t *testing.T, b Backend) {
	s := b.Open(t, Config())
	recent := clicks
	recent.HalfLife = "1h"
	sch := schema(t, recent)
	now := time.Now().UnixMilli()
	appendEvents(t, s, interaction("e1", "u", "click", "a", now),
		interaction("e2", "u", "click", "a", now+9*60_000))
	out := appendEvents(t, s, interaction("e3", "u", "click", "a", now+11*60_000))
	if out[0].Err == nil || out[0].Err.Code != "time_in_future" {
		t.Errorf("an event 11 minutes ahead: %+v", out[0])
	}
	appendEvents(t, s, interaction("e4", "u", "click", "b", 0))
	q := &ranker.FeatureQuery{
		User: "u", Now: time.Now().UnixMilli(), Schema: sch,
		Candidates: []ranker.Candidate{{ID: "a"}},
	}
	st, err := s.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Recent) != 3 || st.Recent[0].Item != "b" {
		t.Errorf("history %+v, want the newest arrival first", st.Recent)
	}
	// Minutes may pass on a slow machine.
	if got := float64(st.Columns[0]); math.Abs(got-math.Log1p(2)) > 0.05 {
		t.Errorf("two clicks within an hour count as %g, want about %g", got, math.Log1p(2))
	}
}

func mergeAndReplace(t *testing.T, b Backend) {
	s := b.Open(t, Config())
	num := func(x float64) map[string]ranker.FieldValue {
		return map[string]ranker.FieldValue{"n": ranker.NumberValue(x)}
	}
	type fields = map[string]ranker.FieldValue
	e := func(id string, at int64, title, text *string, f fields, replace bool) ranker.Event {
		return ranker.Event{
			Kind:    ranker.EventItem,
			ID:      id,
			Time:    at,
			ItemID:  "a",
			Title:   title,
			Text:    text,
			Fields:  f,
			Replace: replace,
		}
	}
	appendEvents(t, s, e("1", t0+10, ptr("new"), nil, num(1), false))
	appendEvents(
		t, s, e("2", t0+5, ptr("old"), ptr("text"), num(9), false),
	) // older: sets only the parts that are unknown
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
	appendEvents(
		t, s, item("i", "a", t0), interaction("e1", "u", "click", "a", t0+30),
		interaction("e2", "u", "view", "b", t0+10), interaction("e3", "u", "click", "c", t0+20),
		interaction("e4", "u", "click", "d", t0+10), interaction("e5", "u", "dance", "a", t0+99),
	)
	st := read(t, s, sch, "u")
	var got []string
	for _, in := range st.Recent {
		got = append(got, in.Item)
	}
	if want := []string{"a", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("recent %v, want %v: newest first by event time, ties by arrival", got, want)
	}
	if st.RecentItems[0] == nil || st.RecentItems[0].Title() != "Title of a" ||
		st.RecentItems[1] != nil {
		t.Errorf("history %v", st.RecentItems)
	}
	appendEvents(
		t, s, impression("s1", "u", t0+15, "c", "x"), impression("s2", "u", t0+16, "y", "z", "w"),
	)
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

// The order of the interactions and impressions does not matter: histories are equal, and decayed
// counts differ only by rounding.
func orderDoesNotMatter(t *testing.T, b Backend) {
	rng := rand.New(rand.NewPCG(1, 1))
	evs := RandomEvents(rng, 80)
	sch := AllCountersSchema(t)
	cfg := Config()
	one, two := b.Open(t, cfg), b.Open(t, cfg)
	appendEvents(t, one, slices.Clone(evs)...)
	shuffled := slices.Clone(evs)
	rest := shuffled[8:] // items stay first, because a field value is counted only once it is known
	rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	appendEvents(t, two, shuffled...)
	for u := range 4 {
		a, c := read(t, one, sch, fmt.Sprint("u", u), "it0", "it3", "it7"), read(
			t, two, sch, fmt.Sprint("u", u), "it0", "it3", "it7",
		)
		for i := range a.Columns {
			if !almostEqual(a.Columns[i], c.Columns[i]) {
				t.Errorf(
					"user %d: column %d is %v in one order, %v in another", u, i, a.Columns[i],
					c.Columns[i],
				)
			}
		}
		if d := cmp.Diff(a.Recent, c.Recent); d != "" {
			t.Errorf("user %d: %s", u, d)
		}
	}
}

func eraseUser(t *testing.T, b Backend) {
	s, sch := b.Open(t, Config()), schema(
		t, clicks, ranker.Feature{Name: "h", Kind: ranker.KindHistory},
	)
	appendEvents(
		t, s, interaction("e1", "u", "click", "a", t0), interaction("e2", "v", "click", "a", t0),
	)
	if err := s.EraseUser(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if st := read(t, s, sch, "u", "a"); len(st.Recent) != 0 || st.Columns[1] != 0 {
			t.Errorf("after EraseUser: %+v", st.Recent)
		}
		if st := read(t, s, sch, "v", "a"); len(st.Recent) != 1 {
			t.Errorf("the other user has %+v", st.Recent)
		}
		s = b.Reopen(t, s)
	}
	appendEvents(t, s, interaction("e3", "u", "click", "b", t0))
	if st := read(t, s, sch, "u"); len(st.Recent) != 1 {
		t.Errorf("a user who returns has %+v", st.Recent)
	}
}

func deleteItem(t *testing.T, b Backend) {
	s := b.Open(t, Config())
	appendEvents(t, s, item("i", "a", t0))
	if known, err := s.DeleteItem(t.Context(), "a"); err != nil || !known {
		t.Fatalf("%v %v", known, err)
	}
	if _, ok := s.Item("a"); ok {
		t.Error("the item still exists")
	}
	if known, err := s.DeleteItem(t.Context(), "a"); err != nil || known {
		t.Errorf("a second time: %v %v", known, err)
	}
}

// After a restart the state is the same, bit for bit.
func reopen(t *testing.T, b Backend) {
	s, sch := b.Open(t, Config()), AllCountersSchema(t)
	appendEvents(t, s, RandomEvents(rand.New(rand.NewPCG(2, 2)), 100)...)
	before := read(t, s, sch, "u1", "it0", "it1", "it5")
	s = b.Reopen(t, s)
	after := read(t, s, sch, "u1", "it0", "it1", "it5")
	opts := cmp.Options{cmpopts.EquateNaNs(), cmp.AllowUnexported(ranker.ItemInfo{}),
		cmpopts.IgnoreFields(ranker.ItemInfo{}, "remembered")}
	if d := cmp.Diff(before, after, opts); d != "" {
		t.Error(d)
	}
}

func concurrentWriters(t *testing.T, b Backend) {
	s, sch := b.Open(t, Config()), schema(t, clicks)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				e := interaction(fmt.Sprint(w, "-", i), fmt.Sprint("u", w), "click", "a", t0)
				if _, err := s.Append(context.Background(), []ranker.Event{e}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantColumns(t, read(t, s, sch, "u", "a"), math.Log1p(200))
}
