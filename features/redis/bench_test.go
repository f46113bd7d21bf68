package redis_test

import (
	"fmt"
	"testing"

	"relish/features"
	"relish/features/redis"
	"relish/internal/redistest"
	"relish/ranker"
)

// catalogue fills a store with n items that have content and counters, and a user with a history.
func catalogue(t testing.TB, s *opened, n int) (ids []string) {
	t.Helper()
	title := "a title of a few words"
	var evs []ranker.Event
	for i := range n {
		id := fmt.Sprint("item-", i)
		ids = append(ids, id)
		evs = append(evs, ranker.Event{Kind: ranker.EventItem, ID: "d" + id, ItemID: id, Title: &title, Tags: []string{fmt.Sprint("tag", i%50)}, Time: 1},
			ranker.Event{Kind: ranker.EventInteraction, ID: "c" + id, UserID: "u", ItemID: id, Action: "click", Time: 2 + int64(i)},
			ranker.Event{Kind: ranker.EventImpression, ID: "s" + id, UserID: "u", Time: 1 + int64(i),
				Impression: &ranker.Impression{Items: []string{id}}})
	}
	for len(evs) > 0 {
		k := min(1000, len(evs))
		if _, err := s.Append(t.Context(), evs[:k]); err != nil {
			t.Fatal(err)
		}
		evs = evs[k:]
	}
	s.flush(t)
	return ids
}

func query(t testing.TB, user string, ids []string) *ranker.FeatureQuery {
	t.Helper()
	sch, err := ranker.NewSchema([]ranker.Feature{
		{Name: "clicks", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
		{Name: "rate", Kind: ranker.KindRate, Scope: ranker.ScopeField, Field: "tags", Action: "click"},
		{Name: "over", Kind: ranker.KindInteracted, Field: "tags"},
	})
	if err != nil {
		t.Fatal(err)
	}
	q := &ranker.FeatureQuery{User: user, Now: 1000, Schema: sch}
	for _, id := range ids {
		q.Candidates = append(q.Candidates, ranker.Candidate{ID: id})
	}
	return q
}

func BenchmarkRead(b *testing.B) {
	s := open(b, redistest.Start(b).URL(), b.TempDir(), features.DefaultConfig(), redis.Options{})
	ids := catalogue(b, s, 1000)
	for _, n := range []int{100, 500, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := query(b, "u", ids[:n])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Read(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
