package features_test

import (
	"math"
	"strings"
	"testing"

	"relish/features"
	"relish/features/storetest"
	"relish/ranker"
)

func columns(t testing.TB, key string, ids []string, values ...float32) *features.ExternalTable {
	t.Helper()
	c, err := features.NewExternalTable(key, ids, []string{"x"}, [][]float32{values})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cells returns the values of an external column for user u and candidates a and b.
func cells(t testing.TB, s *features.State, column string) [2]float32 {
	t.Helper()
	q := &ranker.FeatureQuery{
		Schema:     schemaOf(t, ranker.Feature{Kind: ranker.KindTable, Column: column}),
		User:       "u",
		Now:        t0,
		Candidates: []ranker.Candidate{{ID: "a"}, {ID: "b"}},
	}
	st, err := s.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	return [2]float32(st.Columns)
}

func same(a, b [2]float32) bool {
	for i := range a {
		if a[i] != b[i] && (a[i] == a[i] || b[i] == b[i]) {
			return false
		}
	}
	return true
}

func TestTableColumns(t *testing.T) {
	nan := float32(math.NaN())
	s := features.New(storetest.Config())
	check := func(what, column string, want [2]float32) {
		t.Helper()
		if got := cells(t, s, column); !same(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("never imported", "shop.x", [2]float32{nan, nan})
	s.UseTable("shop", columns(t, features.KeyItem, []string{"b", "z"}, 2, 3))
	s.UseTable("people", columns(t, features.KeyUser, []string{features.UserHash("u")}, 7))
	check("by item", "shop.x", [2]float32{nan, 2})
	check("by user", "people.x", [2]float32{7, 7})
	check("no such column", "shop.y", [2]float32{nan, nan})
	s.UseTable("shop", columns(t, features.KeyItem, []string{"a"}, 5))
	check("a newer version", "shop.x", [2]float32{5, nan})
	s.UseTable("people", columns(t, features.KeyUser, []string{"u"}, 7))
	check("ids that are not hashed", "people.x", [2]float32{nan, nan})
	s.UseTable("shop", nil)
	check("removed", "shop.x", [2]float32{nan, nan})

	ids := []string{"a", "b", "a"}
	_, err := features.NewExternalTable(features.KeyItem, ids, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "rows 0 and 2") {
		t.Errorf("two rows of one item: %v", err)
	}
}

// A replay sees each version of a table from its event on, and no values before the first.
func TestTablesInReplay(t *testing.T) {
	nan := float32(math.NaN())
	versions := map[string]*features.ExternalTable{
		"d1": columns(
			t, features.KeyItem, []string{"a"}, 1,
		), "d2": columns(t, features.KeyItem, []string{"b"}, 2),
	}
	f := newFeed(storetest.Config())
	f.OpenTable = func(name, digest string) *features.ExternalTable {
		if name != "shop" {
			t.Errorf("table %q was opened", name)
		}
		return versions[digest]
	}
	for _, step := range []struct {
		digest string
		want   [2]float32
	}{
		{"", [2]float32{nan, nan}},
		{"d1", [2]float32{1, nan}},
		{"d2", [2]float32{nan, 2}},
		{"lost", [2]float32{nan, nan}},
	} {
		if step.digest != "" {
			f.add(
				ranker.Event{Kind: ranker.EventTable, ID: "t", Table: "shop", Digest: step.digest},
			)
		}
		if got := cells(t, f.State, "shop.x"); !same(got, step.want) {
			t.Errorf("after %q: %v, want %v", step.digest, got, step.want)
		}
	}
}
