package redis_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relish/features"
	"relish/features/redis"
	"relish/internal/redistest"
	"relish/ranker"
)

// Row 1: Redis is not there at the start. The service starts, says what it lacks, and picks Redis up.
func TestRedisAbsentAtStart(t *testing.T) {
	server := redistest.New(t)
	s := open(t, server.URL(), t.TempDir(), features.DefaultConfig(), redis.Options{})
	svc := serve(t, s, []string{"x", "y"})
	for range 10 {
		if a := svc.rank(t); !slices.Contains(a.degraded, ranker.FeaturesMissing) || a.coverage != 0 {
			t.Errorf("an answer without Redis says %v, coverage %v", a.degraded, a.coverage)
		}
	}
	s.add(t, click("e", "u", "x")) // acknowledged all the same: the log has it
	server.Start()
	svc.whole(t)
	if st := s.read(t, query(t, "u", []string{"x"})); len(st.Recent) != 1 {
		t.Errorf("the event from before is not there: %v", st.Recent)
	}
}

// Rows 2, 3 and 11: Redis killed, hung, or empty again, under load. What was acknowledged meanwhile counts once
// afterwards.
func TestRedisGoesAway(t *testing.T) {
	for name, c := range map[string]struct{ away, back func(*redistest.Server) }{
		"killed":  {(*redistest.Server).Kill, (*redistest.Server).Start}, // it comes back empty
		"hung":    {(*redistest.Server).Pause, (*redistest.Server).Resume},
		"flushed": {func(s *redistest.Server) { s.Do("FLUSHALL") }, func(*redistest.Server) {}},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			svc := loaded(t, server.URL())
			svc.load(t)
			svc.answered(t, 20)
			c.away(server)
			gone := time.Now()
			for i := range 20 {
				svc.add(t, click(fmt.Sprint("away", i), "u", "item-0"))
				svc.answered(t, 5)
			}
			if name != "flushed" {
				svc.unasked(t)
			}
			back := time.Now()
			c.back(server)
			svc.whole(t)
			svc.flush(t)
			silent := 0
			for _, a := range svc.end() {
				if a.at.After(gone) && a.at.Add(a.took).Before(back) && name != "flushed" && len(a.degraded) == 0 {
					silent++
				}
			}
			if silent > 0 {
				t.Errorf("%d answers made from local copies do not say so", silent)
			}
			q := query(t, "u", []string{"item-0"})
			q.Now = 1_800_000_000_000
			want := features.New(svc.cfg)
			replay(t, want, svc.dir)
			w, err := want.Read(q)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "every click counts once", func() bool {
				st := svc.read(t, q)
				return st.Columns[0] == w.Columns[0] && len(st.Recent) == len(w.Recent)
			})
		})
	}
}

// Row 4: late replies after a hang are never taken for answers to other questions.
func TestLateReplies(t *testing.T) {
	server := redistest.Start(t)
	svc := loaded(t, server.URL())
	for range 5 {
		server.Pause()
		for range 5 {
			svc.rank(t)
		}
		server.Resume()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 50 {
					id := fmt.Sprint("item-", (w*50+i)%100)
					if it, ok := svc.Item(id); ok && it.ID != id {
						t.Errorf("asked for %s, got %s", id, it.ID)
					}
				}
			})
		}
		wg.Wait()
		eventually(t, "Redis is found again", func() bool { return svc.Stats().Up })
	}
}

// Rows 5, 6, 7: replies come late, byte by byte, cut in the middle, or not at all. Nothing waits longer than its
// slice, and all is well once the network is.
func TestBadNetwork(t *testing.T) {
	for name, fault := range map[string]redistest.Fault{
		"slow":   {Delay: 200 * time.Millisecond},
		"drip":   {Delay: 10 * time.Millisecond, PieceBytes: 1},
		"cut":    {CutAfter: 500},
		"silent": {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.StartProxy(t, redistest.Start(t))
			svc := loaded(t, proxy.URL())
			before := proxy.Connections()
			proxy.SetFault(fault)
			start := time.Now()
			whole, n := 0, 0
			for n < 100 || time.Since(start) < 500*time.Millisecond {
				if a := svc.rank(t); len(a.degraded) == 0 {
					whole++
				}
				n++
			}
			if whole > 3 { // replies that were on their way
				t.Errorf("%d of %d answers do not say that they lack something", whole, n)
			}
			if opened := proxy.Connections() - before; opened > 64 {
				t.Errorf("%d connections were dialled in half a second", opened)
			}
			proxy.SetFault(redistest.Fault{})
			svc.whole(t)
		})
	}
}

// Row 8: packets to Redis vanish, so that dialling gets no answer. A listener whose queue is full does that.
func TestBlackHole(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // it never accepts, and never answers
	s := open(t, "redis://"+ln.Addr().String(), t.TempDir(), features.DefaultConfig(), redis.Options{})
	svc := serve(t, s, []string{"x"})
	for range 50 {
		if a := svc.rank(t); !slices.Contains(a.degraded, ranker.FeaturesMissing) {
			t.Errorf("an answer without Redis says %v", a.degraded)
		}
	}
	s.add(t, click("e", "u", "x"))
}

// Row 15: a thousand callers at once take turns. Who does not get his turn in time gets local copies, and it is no
// sign that Redis is away; the connections stay within their bound, and none is broken off for another to be dialled.
func TestManyCallers(t *testing.T) {
	svc := loaded(t, redistest.Start(t).URL())
	q := query(t, "u", svc.ids)
	before := svc.Stats()
	var whole, stale atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			st, err := svc.Read(t.Context(), q)
			switch {
			case err != nil || st.ItemsRead != len(svc.ids):
				t.Errorf("%v, %+v", err, st)
			case st.Stale:
				stale.Add(1)
			default:
				whole.Add(1)
			}
			if n := svc.conn.PoolStats().TotalConns; n > 64 {
				t.Errorf("%d connections", n)
			}
		})
	}
	wg.Wait()
	after := svc.Stats()
	if asked := after.RoundTrips - before.RoundTrips; asked < whole.Load() || after.StaleReads-before.StaleReads != stale.Load() {
		t.Errorf("%d questions, %d whole answers, %d stale ones, %d counted as such", asked, whole.Load(), stale.Load(), after.StaleReads-before.StaleReads)
	}
	svc.whole(t)
}

// Callers with hardly any time learn nothing about Redis, and do not keep others from it.
func TestHurriedCallers(t *testing.T) {
	svc := loaded(t, redistest.Start(t).URL())
	q := query(t, "u", svc.ids)
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		_, _ = svc.Read(ctx, q) // it may find that its time is over
		cancel()
	}
	if n := svc.Stats().Outages; n != 0 {
		t.Errorf("the breaker opened %d times", n)
	}
}

// Row 18: local copies are served however old they are; answers say that they are stale, and a gauge says since
// when.
func TestAgeOfCopies(t *testing.T) {
	server := redistest.Start(t)
	svc := loaded(t, server.URL())
	server.Kill()
	eventually(t, "the outage is noticed", func() bool { svc.rank(t); return svc.Stats().BehindFor > 0 })
	first := svc.Stats().BehindFor
	for range 50 {
		if st := svc.read(t, query(t, "u", svc.ids)); !st.Stale || st.ItemsRead != len(svc.ids) {
			t.Errorf("%d of %d items come from local copies, stale %v", st.ItemsRead, len(svc.ids), st.Stale)
		}
	}
	if now := svc.Stats().BehindFor; now <= first {
		t.Errorf("the age of copies went from %v to %v", first, now)
	}
	server.Start()
	eventually(t, "nothing is old", func() bool { return svc.Stats().BehindFor == 0 })
}
