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

// What one replica has acknowledged, another one reads at once: counters, histories and texts.
func TestReplicasRankAsOne(t *testing.T) {
	r := openReplicas(t, redistest.Start(t).URL(), 2)
	a, b := r[0], r[1]
	q := query(t, "u", []string{"x", "y"})
	for i := 1; i <= 5; i++ {
		title := fmt.Sprint("title ", i)
		a.add(t, itemWithTitle(fmt.Sprint("d", i), "x", title), click(fmt.Sprint("a", i), "u", "x"))
		st := b.read(t, q)
		if got, want := st.Columns[0], float32(math.Log1p(float64(i))); got != want {
			t.Errorf("after %d clicks at A, B reads %v, want %v", i, got, want)
		}
		if len(st.Recent) != i {
			t.Errorf("after %d clicks at A, B has %d in the history", i, len(st.Recent))
		}
		if st.Items[0] == nil || st.Items[0].Title() != title {
			t.Errorf("B has the item %+v, want the title %q", st.Items[0], title)
		}
		if st.Stale || st.ItemsRead != 2 {
			t.Errorf("stale %v, %d items read", st.Stale, st.ItemsRead)
		}
	}
	// A text of an item that is only in a history is up to date after the next read of the changes.
	a.add(t, itemWithTitle("d9", "x", "the last title"))
	other := query(t, "u", []string{"y"})
	eventually(t, "the history's item has its new title", func() bool {
		st := b.read(t, other)
		return st.RecentItems[0] != nil && st.RecentItems[0].Title() == "the last title"
	})
}

// Eight replicas write at once about the same users and items. The result is what one replica
// would have counted. An event that was sent to two replicas counts once.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	for name, url := range map[string]string{
		"server":  redistest.Start(t).URL(),
		"cluster": redistest.StartCluster(t, 3, 0).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			evs := storetest.RandomEvents(rand.New(rand.NewPCG(3, 3)), 800)
			want := features.New(storetest.Config())
			for i := range evs {
				want.Apply(&event.Record{
					Seq: uint64(i + 1), Arrival: time.Now().UnixMilli(), Event: evs[i],
				})
			}
			replicas := openReplicas(t, url, 8)
			replicas[0].add(t, slices.Clone(evs[:8])...) // the items; the order of the rest is free
			var wg sync.WaitGroup
			for w, s := range replicas {
				wg.Go(func() {
					for i := 8; i < len(evs); i++ {
						if i%8 != w && i%80 != w { // a tenth goes to a second replica as well
							continue
						}
						if _, err := s.Append(t.Context(), []ranker.Event{evs[i]}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for _, s := range replicas {
				s.waitFlushed(t)
			}
			schema := storetest.AllCountersSchema(t)
			for i, s := range replicas {
				eventually(t, fmt.Sprintf("replica %d has what one would have", i), func() bool {
					return sameState(t, schema, want, s)
				})
			}
			if n := replicas[0].Stats().Conflicts; n == 0 {
				t.Log("no compare-and-set was contended in this run")
			}
		})
	}
}

// sameState compares all counters and histories: counts exactly, decayed sums within 1e-6, because
// the columns are float32.
func sameState(t testing.TB, schema *ranker.Schema, want *features.State, s *testStore) bool {
	for u := range 4 {
		q := &ranker.FeatureQuery{
			User: fmt.Sprint("u", u), Now: 1_700_000_000_000, Schema: schema,
		}
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

// An erased user is gone at once for all replicas, from their local copies too. No key or value
// of Redis contains the id.
func TestErasedEverywhere(t *testing.T) {
	server := redistest.Start(t)
	r := openReplicas(t, server.URL(), 2)
	const user = "someone-to-erase"
	r[0].add(t, click("e1", user, "x"), click("e2", "else", "x"))
	q := query(t, user, []string{"x"})
	for i, s := range r {
		if n := len(s.read(t, q).Recent); n != 1 {
			t.Fatalf("replica %d has %d clicks, want 1", i, n)
		}
	}
	if err := r[0].EraseUser(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	for i, s := range r {
		if st := s.read(t, q); len(st.Recent) != 0 {
			t.Errorf("replica %d still has %v", i, st.Recent)
		}
	}
	for _, key := range keysOf(t, server) {
		if strings.Contains(key, user) || strings.Contains(server.Do("DUMP", key), user) {
			t.Errorf("%s contains the user's id", key)
		}
	}
	eventually(t, "without Redis, the other replica knows nothing of the user", func() bool {
		server.Pause()
		defer server.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		st, err := r[1].Read(ctx, q)
		return err != nil || len(st.Recent) == 0
	})
	r[0].add(t, click("e3", user, "y"))
	eventually(t, "a user who comes back has only the new click", func() bool {
		st := r[1].read(t, q)
		return len(st.Recent) == 1 && st.Recent[0].Item == "y"
	})
}
