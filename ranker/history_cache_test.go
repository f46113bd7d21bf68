package ranker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/ranker"
)

// historySignal writes how many interactions the user has. It counts how often it looks.
type historySignal struct {
	looks *int
	bytes int
}

func (historySignal) Columns() []string { return []string{"text"} }

func (s *historySignal) Compute(
	_ context.Context, in *ranker.SignalInput, out []float32,
) error {
	n := ranker.OfHistory(in, s, nil, func() (*int, int) {
		*s.looks++
		n := len(in.State.Recent)
		return &n, s.bytes
	})
	for i := range out {
		out[i] = float32(*n)
	}
	return nil
}

// historyWorld is a world whose users have histories, and whose model keeps what follows from them.
func historyWorld(t *testing.T, s ranker.Signal, cacheBytes int) (*world, map[string][]string) {
	t.Helper()
	w, histories := newWorld(t, 5), map[string][]string{}
	w.opt.Features = readFunc(func(
		ctx context.Context, q *ranker.FeatureQuery,
	) (*ranker.RequestState, error) {
		state, err := w.read(ctx, q)
		for k, id := range histories[q.User] {
			recent := ranker.Interaction{Item: id, Time: int64(k)}
			state.Recent = append(state.Recent, recent)
			state.RecentItems = append(state.RecentItems, w.items[id])
		}
		return state, err
	})
	w.models.main.Signals = []ranker.Signal{s}
	w.models.main.Histories = ranker.NewHistoryCache(cacheBytes)
	return w, histories
}

// A signal looks at a history once, until the user does something. Each user has their own.
func TestHistoryIsComputedOnce(t *testing.T) {
	looks := 0
	w, histories := historyWorld(t, &historySignal{looks: &looks}, 1<<20)
	p := w.pipeline(t)
	rank := func(user string, wantLooks int) {
		t.Helper()
		req := w.request(5)
		req.User = user
		resp, err := p.Rank(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if looks != wantLooks {
			t.Errorf("%d looks at histories, want %d", looks, wantLooks)
		}
		looks = 0
		for _, it := range resp.Items {
			quality, _ := w.items[it.ID].Field("quality")
			if want := quality.Num + float64(len(histories[user])); !near(it.Score, want) {
				t.Errorf("item %s has the score %v, want %v", it.ID, it.Score, want)
			}
		}
	}
	histories["a"], histories["b"] = []string{"i001"}, []string{"i002", "i003"}
	rank("a", 1)
	rank("a", 0)
	rank("b", 1)
	rank("a", 0)
	histories["a"] = []string{"i004", "i001"}
	rank("a", 1)
	rank("a", 0)
	rank("b", 0)
	rank("", 1) // nobody
	rank("", 1)
}

func near(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

// The cache keeps its bound, and the users who were ranked for longest ago leave first.
func TestHistoryCacheIsBounded(t *testing.T) {
	const maxBytes, each = 1 << 20, 10_000
	looks := 0
	s := &historySignal{looks: &looks, bytes: each}
	cache := ranker.NewHistoryCache(maxBytes)
	use := func(user string) (looked bool) {
		in := &ranker.SignalInput{
			Request: &ranker.Request{User: user}, State: &ranker.RequestState{},
		}
		in.UseHistory(cache)
		before := looks
		if err := s.Compute(t.Context(), in, nil); err != nil {
			t.Fatal(err)
		}
		return looks > before
	}
	for i := range 1000 {
		use("often")
		use(fmt.Sprint(i))
		if got := cache.Bytes(); got > maxBytes {
			t.Fatalf("%d bytes after %d users, want at most %d", got, i+1, maxBytes)
		}
	}
	if use("often") {
		t.Error("a user who was ranked for all the time has left")
	}
	if !use("0") {
		t.Error("the first user has not left")
	}
	kept := 0
	for i := 999; i >= 0 && !use(fmt.Sprint(i)); i-- {
		kept++
	}
	if kept == 0 {
		t.Error("the last user has left")
	}
	s.bytes = maxBytes
	if use("large"); !use("large") || cache.Bytes() > maxBytes {
		t.Errorf("an entry above the bound is kept; %d bytes", cache.Bytes())
	}
}

// What was computed of users that no request names any more leaves: one of them may be erased.
func TestHistoryCacheForgetsIdleUsers(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		cache := ranker.NewHistoryCache(1 << 20)
		use := func(from, to int) {
			for i := from; i < to; i++ {
				in := &ranker.SignalInput{
					Request: &ranker.Request{User: fmt.Sprint(i)}, State: &ranker.RequestState{},
				}
				in.UseHistory(cache)
			}
		}
		use(0, 1) // who comes back
		one := cache.Bytes()
		use(1, 200)
		time.Sleep(50 * time.Minute)
		use(0, 1)
		if got := cache.Bytes(); got != 200*one {
			t.Errorf("%d bytes within the hour, want all 200 users with %d each", got, one)
		}
		time.Sleep(20 * time.Minute)
		use(200, 1000) // each part of the cache gets a request
		if got := cache.Bytes(); got != 801*one {
			t.Errorf("%d bytes, want 801 users with %d each", got, one)
		}
	})
}

// Requests for the same users may use the cache at the same time.
func TestHistoryCacheIsSafeForConcurrentUse(t *testing.T) {
	cache := ranker.NewHistoryCache(1 << 16)
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			looks := 0
			signals := []*historySignal{{&looks, 100}, {&looks, 1000}}
			for i := range 500 {
				in := &ranker.SignalInput{
					Request: &ranker.Request{User: fmt.Sprint(i % 17)},
					State: &ranker.RequestState{
						Recent:      make([]ranker.Interaction, i%3),
						RecentItems: make([]*ranker.ItemInfo, i%3),
					},
					RecentVectors: make([][]float32, i%3),
				}
				in.UseHistory(cache)
				for _, s := range signals {
					out := make([]float32, 1)
					if err := s.Compute(t.Context(), in, out); err != nil {
						t.Error(err)
					}
					if !slices.Equal(out, []float32{float32(i % 3)}) {
						t.Errorf("worker %d: %v interactions, want %d", worker, out, i%3)
					}
				}
			}
		})
	}
	workers.Wait()
}
