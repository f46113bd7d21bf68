package features_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"relish/features/storetest"
	"relish/ranker"
)

// contents returns a schema of features that depend on content only, and of counters of an item's
// field values. turn rotates the order of the features.
func contents(t testing.TB, turn int) *ranker.Schema {
	f := []ranker.Feature{
		{Kind: ranker.KindNumber, Field: "price"},
		{Kind: ranker.KindBoolean, Field: "on"},
		{Kind: ranker.KindWordCount, Field: "title"},
		{Kind: ranker.KindHistory},
		{
			Kind: ranker.KindCategory, Field: "genres",
			Values: []string{"sea", "moon", "ghost"}, Missing: true,
		},
		{
			Kind: ranker.KindCategory, Field: "tags",
			Values: []string{"jazz", "sea"}, Encode: "index",
		},
		{Kind: ranker.KindNumber, Field: "user.sea"},
		{Kind: ranker.KindRate, Scope: ranker.ScopeField, Action: "click", Field: "tags"},
		{Kind: ranker.KindCount, Scope: ranker.ScopeField, Action: "any", Field: "genres"},
	}
	return schemaOf(t, append(f[turn:], f[:turn]...)...)
}

// The item cache does not change results, whatever events come in between and whichever schemas
// alternate. A state that several goroutines read all the time returns the same as one that was
// never read.
func TestItemCacheChangesNothing(t *testing.T) {
	schemas := []*ranker.Schema{contents(t, 0), contents(t, 3), contents(t, 5), wide(t)}
	q := ranker.FeatureQuery{User: "u1", Now: t0}
	for i := range 14 { // two of them are unknown
		q.Candidates = append(
			q.Candidates, ranker.Candidate{ID: fmt.Sprint("i", i), ColdStart: i == 3},
		)
	}
	q.Candidates[5].Inline = &ranker.Item{
		Tags:   []string{"jazz", "new"},
		Fields: map[string]ranker.FieldValue{"price": ranker.NumberValue(7)},
	}
	ask := func(f *feed, schema *ranker.Schema) string {
		q := q
		q.Schema = schema
		st, err := f.Read(&q)
		if err != nil {
			t.Error(err)
			return ""
		}
		return fmt.Sprint(st.Columns)
	}
	r := rand.New(rand.NewPCG(7, 7))
	often, events := newFeed(storetest.Config()), []ranker.Event(nil)
	for step := range 60 {
		events = append(events, randomEvent(r), randomEvent(r), randomEvent(r))
		often.add(events[3*step:]...)
		never := newFeed(storetest.Config())
		never.add(events...)
		var readers sync.WaitGroup
		for k, schema := range schemas {
			readers.Go(func() {
				if got, want := ask(often, schema), ask(never, schema); got != want {
					t.Errorf(
						"step %d, schema %d:\n%s, without earlier reads\n%s", step, k, got, want,
					)
				}
			})
		}
		readers.Wait()
	}
}
