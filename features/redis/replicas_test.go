package redis_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/features/storetest"
	"relish/internal/redistest"
	"relish/ranker"
)

func click(id, user, item string) ranker.Event {
	return ranker.Event{Kind: ranker.EventInteraction, ID: id, Time: 1_700_000_000_000, UserID: user, ItemID: item, Action: "click"}
}

func described(id, item, title string) ranker.Event {
	return ranker.Event{Kind: ranker.EventItem, ID: id, Time: 1_700_000_000_000, ItemID: item, Title: &title, Replace: true}
}

func (o *opened) add(t testing.TB, events ...ranker.Event) []ranker.EventOutcome {
	t.Helper()
	out, err := o.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (o *opened) read(t testing.TB, q *ranker.FeatureQuery) *ranker.RequestState {
	t.Helper()
	st, err := o.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func replicas(t testing.TB, url string, n int) (out []*opened) {
	t.Helper()
	for range n {
		s := open(t, url, t.TempDir(), features.DefaultConfig(), patient)
		s.flush(t)
		out = append(out, s)
	}
	return out
}

// What one replica acknowledged, the next answer of another knows: counters, histories and texts.
func TestReplicasRankAsOne(t *testing.T) {
	r := replicas(t, redistest.Start(t).URL(), 2)
	a, b := r[0], r[1]
	q := query(t, "u", []string{"x", "y"})
	for i := 1; i <= 5; i++ {
		a.add(t, described(fmt.Sprint("d", i), "x", fmt.Sprint("title ", i)), click(fmt.Sprint("a", i), "u", "x"))
		st := b.read(t, q)
		if got, want := st.Columns[0], float32(math.Log1p(float64(i))); got != want {
			t.Errorf("after %d clicks at A, B reads %v, want %v", i, got, want)
		}
		if len(st.Recent) != i || st.Items[0] == nil || st.Items[0].Title != fmt.Sprint("title ", i) {
			t.Errorf("after %d clicks at A, B has %d in the history and the item %+v", i, len(st.Recent), st.Items[0])
		}
		if st.Stale || st.ItemsRead != 2 {
			t.Errorf("stale %v, read %d", st.Stale, st.ItemsRead)
		}
	}
	// A text that changes while it is only in a history is known by the next look at the changes.
	a.add(t, described("d9", "x", "the last title"))
	other := query(t, "u", []string{"y"})
	eventually(t, "the history's item has its new title", func() bool {
		st := b.read(t, other)
		return st.RecentItems[0] != nil && st.RecentItems[0].Title == "the last title"
	})
}

// Eight replicas write at once about the same users and items; what comes out is what one replica would
// have counted, and an event sent to two of them counts once.
func TestWritersLoseNothing(t *testing.T) {
	for name, url := range map[string]string{"server": redistest.Start(t).URL(), "cluster": redistest.StartCluster(t, 3, 0).URL()} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 3))
			evs := storetest.RandomEvents(rng, 800)
			want := features.New(features.DefaultConfig())
			for i := range evs {
				want.Apply(&event.Record{Seq: uint64(i + 1), Arrival: time.Now().UnixMilli(), Event: evs[i]})
			}
			r := replicas(t, url, 8)
			r[0].add(t, slices.Clone(evs[:8])...) // the items; the rest in any order
			var wg sync.WaitGroup
			for w, s := range r {
				wg.Go(func() {
					for i := 8; i < len(evs); i++ {
						if i%8 == w || i%80 == w { // a tenth goes to a second replica as well
							if _, err := s.Append(t.Context(), []ranker.Event{evs[i]}); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			wg.Wait()
			for _, s := range r {
				s.flush(t)
			}
			sch := storetest.AllCountersSchema(t)
			for i, s := range r {
				eventually(t, fmt.Sprint("replica ", i, " counts as one replica would"), func() bool { return sameState(t, sch, want, s) })
			}
			if n := r[0].Stats().Conflicts; n == 0 {
				t.Log("no write was contended in this run")
			}
		})
	}
}

// sameState compares everything that is counted: integers and histories exactly, decayed sums within 1e-6 of
// the columns, which are float32.
func sameState(t testing.TB, sch *ranker.Schema, want *features.State, s *opened) bool {
	for u := range 4 {
		q := &ranker.FeatureQuery{User: fmt.Sprint("u", u), Now: 1_700_000_000_000, Schema: sch}
		for i := range 8 {
			q.Candidates = append(q.Candidates, ranker.Candidate{ID: fmt.Sprint("it", i)})
		}
		w, err := want.Read(q)
		if err != nil {
			t.Fatal(err)
		}
		got := s.read(t, q)
		for i := range w.Columns {
			a, b := float64(got.Columns[i]), float64(w.Columns[i])
			if math.IsNaN(a) != math.IsNaN(b) || math.Abs(a-b) > 1e-6*max(1, math.Abs(b)) {
				return false
			}
		}
		if len(got.Recent) != len(w.Recent) || len(got.Shown) != len(w.Shown) {
			return false
		}
	}
	return true
}

// A forgotten user is gone at once for all replicas, from what they hold as well, and no key or value of Redis
// names him.
func TestForgottenEverywhere(t *testing.T) {
	server := redistest.Start(t)
	r := replicas(t, server.URL(), 2)
	const user = "someone-to-forget"
	r[0].add(t, click("e1", user, "x"), click("e2", "else", "x"))
	q := query(t, user, []string{"x"})
	for _, s := range r {
		if len(s.read(t, q).Recent) != 1 {
			t.Fatal("the click is not there")
		}
	}
	if err := r[0].Forget(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	for i, s := range r {
		if st := s.read(t, q); len(st.Recent) != 0 {
			t.Errorf("replica %d still has %v", i, st.Recent)
		}
	}
	for _, key := range keysOf(t, server) {
		if strings.Contains(key, user) || strings.Contains(server.Do("DUMP", key), user) {
			t.Errorf("%s names the user", key)
		}
	}
	// And the local copies are dropped: with Redis away they know nothing of him.
	eventually(t, "the other replica has dropped its copy", func() bool {
		server.Pause()
		defer server.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		st, err := r[1].Read(ctx, q)
		return err != nil || len(st.Recent) == 0
	})
	r[0].add(t, click("e3", user, "y"))
	eventually(t, "who comes back is new", func() bool {
		st := r[1].read(t, q)
		return len(st.Recent) == 1 && st.Recent[0].Item == "y"
	})
}

func keysOf(t testing.TB, s *redistest.Server) (keys []string) {
	t.Helper()
	for i, line := range strings.Split(s.Do("EVAL", "return redis.call('KEYS', '*')", "0"), "\r\n") {
		if i > 0 && line != "" && line[0] != '$' {
			keys = append(keys, line)
		}
	}
	return keys
}

// Nothing in Redis lives for ever.
func TestEveryKeyExpires(t *testing.T) {
	server := redistest.Start(t)
	s := replicas(t, server.URL()+"?prefix=tenant", 1)[0]
	s.add(t, described("d", "x", "title"), click("e", "u", "x"))
	if _, err := s.DeleteItem(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	s.add(t, described("d2", "x", "title"))
	eventually(t, "the tables are published", func() bool {
		return slices.ContainsFunc(keysOf(t, server), func(k string) bool { return strings.Contains(k, "}p:") })
	})
	for _, key := range keysOf(t, server) {
		if !strings.HasPrefix(key, "tenant:relish:") {
			t.Errorf("%s is not under the tenant's prefix", key)
		}
		if ttl := server.Do("PTTL", key); strings.HasPrefix(ttl, ":-") {
			t.Errorf("%s never expires: %s", key, ttl)
		}
	}
}
