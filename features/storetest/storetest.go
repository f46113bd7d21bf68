// Package storetest is the conformance suite of ranker.Store. Each store runs it against a real
// instance, so that the embedded store and the Redis store behave alike.
package storetest

import (
	"math"
	"testing"

	"relish/features"
	"relish/ranker"
)

// Backend opens stores for the suite.
type Backend struct {
	// Open opens a store on empty data.
	Open func(t *testing.T, cfg features.Config) ranker.Store
	// Reopen closes the store and opens it again on the same data.
	Reopen func(t *testing.T, s ranker.Store) ranker.Store
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for name, test := range map[string]func(*testing.T, Backend){
		"ReadYourWrites":     readYourWrites,
		"Duplicates":         duplicates,
		"IDConflicts":        idConflicts,
		"Rejections":         rejections,
		"AheadOfArrival":     aheadOfArrival,
		"MergeAndReplace":    mergeAndReplace,
		"Histories":          histories,
		"OrderDoesNotMatter": orderDoesNotMatter,
		"EraseUser":          eraseUser,
		"DeleteItem":         deleteItem,
		"Reopen":             reopen,
		"ConcurrentWriters":  concurrentWriters,
		"Features":           featureValues,
		"Inline":             inline,
	} {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

// t0 is the time of the suite's requests in Unix ms. It is in the past of any clock.
const t0 = int64(1_700_000_000_000)

func ptr[T any](v T) *T { return &v }

func schema(t testing.TB, f ...ranker.Feature) *ranker.Schema {
	t.Helper()
	s, err := ranker.NewSchema(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func impression(id, user string, at int64, items ...string) ranker.Event {
	return ranker.Event{
		Kind:       ranker.EventImpression,
		ID:         id,
		Time:       at,
		UserID:     user,
		Impression: &ranker.Impression{Items: items},
	}
}

func interaction(id, user, action, item string, at int64) ranker.Event {
	return ranker.Event{
		Kind:   ranker.EventInteraction,
		ID:     id,
		Time:   at,
		UserID: user,
		ItemID: item,
		Action: action,
	}
}

func item(id, itemID string, at int64, tags ...string) ranker.Event {
	return ranker.Event{
		Kind:   ranker.EventItem,
		ID:     id,
		Time:   at,
		ItemID: itemID,
		Title:  ptr("Title of " + itemID),
		Tags:   tags,
	}
}

func appendEvents(t *testing.T, s ranker.Store, events ...ranker.Event) []ranker.EventOutcome {
	t.Helper()
	out, err := s.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(
	t *testing.T,
	s ranker.Store,
	sch *ranker.Schema,
	user string,
	items ...string,
) *ranker.RequestState {
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

var clicks = ranker.Feature{
	Name:   "clicks",
	Kind:   ranker.KindCount,
	Scope:  ranker.ScopeItem,
	Action: "click",
}

func almostEqual(a, b float32) bool {
	return math.IsNaN(float64(a)) && math.IsNaN(float64(b)) ||
		math.Abs(float64(a-b)) <= 1e-6*max(1, math.Abs(float64(b)))
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
