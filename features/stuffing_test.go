package features_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"relish/features/storetest"
	"relish/ranker"
)

// An item with more tags than nearly all items have cannot overlap with every history, and gains
// nothing from repeating a tag.
func TestManyTagsOverlapLittle(t *testing.T) {
	f := newFeed(storetest.Config())
	all := make([]string, 40)
	for i := range all {
		all[i] = fmt.Sprint("tag", i)
	}
	f.add(
		item("liked", "tag1", "tag2"), item("same", "tag2", "tag1"), item("half", "tag1", "x"),
		item("all", all...), item("repeated", slices.Repeat([]string{"tag1"}, 50)...),
		shown("u", t0, "liked", "half"), did("u", "click", "liked", t0),
	)
	interacted := ranker.Feature{Kind: ranker.KindInteracted, Field: "tags", MaxValues: 2}
	count := ranker.Feature{
		Kind: ranker.KindCount, Scope: ranker.ScopeField, Action: "click", Field: "tags",
	}
	q := &ranker.FeatureQuery{User: "u", Now: t0 + 100, Schema: schemaOf(t, interacted, count)}
	for _, id := range []string{"same", "half", "all", "repeated"} {
		q.Candidates = append(q.Candidates, ranker.Candidate{ID: id})
	}
	state, err := f.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	one := float32(math.Log1p(1))
	want := []float32{1, one, 0.5, one / 2, 0, one / 20, 1, one}
	for i, x := range state.Columns {
		if math.Abs(float64(x-want[i])) > 1e-6 {
			t.Fatalf("columns %v, want %v", state.Columns, want)
		}
	}
}
