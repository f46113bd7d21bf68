package app

import (
	"fmt"
	"slices"
	"testing"

	"relish/features"
	"relish/features/embedded"
	"relish/ranker"
)

// The pool has the newest texts of the items that are left, and of many items the same ones each
// time.
func TestCatalogueTexts(t *testing.T) {
	dir := t.TempDir()
	if texts, err := catalogueTexts(t.Context(), dir, 10); err != nil || len(texts) > 0 {
		t.Errorf("without a log: %q, %v", texts, err)
	}
	store, err := embedded.Open(dir, features.DefaultConfig(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	describe := func(id string, e ranker.Event) {
		t.Helper()
		n++
		e.Kind, e.ID, e.ItemID = ranker.EventItem, fmt.Sprint("e", n), id
		if _, err := store.Append(t.Context(), []ranker.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	text := func(s string) *string { return &s }
	describe("a", ranker.Event{Title: text("bread")})
	describe("a", ranker.Event{Text: text("at sea"), Tags: []string{"rye"}})
	describe("b", ranker.Event{Title: text("old"), Text: text("gone")})
	describe("b", ranker.Event{Title: text("tax"), Replace: true})
	describe("c", ranker.Event{Title: text("deleted")})
	if _, err := store.DeleteItem(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	got, err := catalogueTexts(t.Context(), dir, 10)
	if want := []string{"bread. rye. at sea", "tax"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, want %q: %v", got, want, err)
	}
	for i := range 40 {
		describe(fmt.Sprint("many", i), ranker.Event{Title: text(fmt.Sprint("title ", i))})
	}
	first, err := catalogueTexts(t.Context(), dir, 10)
	if err != nil || len(first) != 10 {
		t.Errorf("%d texts, want 10: %v", len(first), err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := catalogueTexts(t.Context(), dir, 10)
	if err != nil || !slices.Equal(again, first) {
		t.Errorf("%q, then %q: %v", first, again, err)
	}
}
