package redis_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relish/features"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redistest"
	"relish/ranker"
)

// Without Redis at the start, the service starts, says what its answers lack, and uses Redis once
// it is there.
func TestRedisAbsentAtStart(t *testing.T) {
	server := redistest.New(t)
	s := open(t, server.URL(), t.TempDir(), storetest.Config(), redis.Options{})
	svc := newService(t, s, []string{"x", "y"})
	for range 10 {
		a := svc.rank(t)
		if !slices.Contains(a.degraded, ranker.FeaturesMissing) || a.coverage != 0 {
			t.Errorf("without Redis: degraded %v, coverage %v", a.degraded, a.coverage)
		}
	}
	s.add(t, click("e", "u", "x")) // acknowledged, because the log has it
	server.Start()
	svc.waitComplete(t)
	if st := s.read(t, query(t, "u", []string{"x"})); len(st.Recent) != 1 {
		t.Errorf("the history is %v, want the click from before", st.Recent)
	}
}

// Redis is killed, frozen or emptied under load. Reads end, answers say that they are stale, and
// what was acknowledged meanwhile counts once afterwards.
func TestRedisFails(t *testing.T) {
	flush := func(s *redistest.Server) { s.Do("FLUSHALL") }
	for name, c := range map[string]struct {
		fail, recover func(*redistest.Server)
		noAnswers     bool // Redis does not answer while it fails
	}{
		// A killed server comes back empty.
		"killed":  {(*redistest.Server).Kill, (*redistest.Server).Start, true},
		"frozen":  {(*redistest.Server).Pause, (*redistest.Server).Resume, true},
		"flushed": {flush, func(*redistest.Server) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			svc := warmService(t, server.URL())
			c.fail(server)
			failedAt := time.Now()
			svc.readsEnd(t)
			svc.startLoad(t)
			for i := range 20 {
				svc.add(t, click(fmt.Sprint("away", i), "u", "item-0"))
				svc.waitAnswers(t, 5)
			}
			if c.noAnswers {
				svc.checkBreaker(t)
			}
			recoveredAt := time.Now()
			c.recover(server)
			svc.waitComplete(t)
			svc.waitFlushed(t)
			unmarked := 0
			for _, a := range svc.stopLoad() {
				during := a.asked.After(failedAt) && a.received.Before(recoveredAt)
				if c.noAnswers && during && len(a.degraded) == 0 {
					unmarked++
				}
			}
			if unmarked > 0 {
				t.Errorf("%d answers from local copies are not marked as degraded", unmarked)
			}
			checkClicksCountOnce(t, svc, []string{"item-0"})
		})
	}
}

// checkClicksCountOnce waits until Redis has the clicks that the log has, each once.
func checkClicksCountOnce(t *testing.T, svc *service, ids []string) {
	t.Helper()
	q := query(t, "u", ids)
	q.Now = 1_800_000_000_000
	fromLog := features.New(svc.cfg)
	replayLog(t, fromLog, svc.dir)
	want, err := fromLog.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	columns := len(want.Columns) / len(ids)
	eventually(t, "every click counts once", func() bool {
		st := svc.read(t, q)
		for i := range ids {
			if st.Columns[columns*i] != want.Columns[columns*i] {
				return false
			}
		}
		return !st.Stale && len(st.Recent) == len(want.Recent)
	})
}

// Late replies after a freeze are never taken for answers to other commands.
func TestLateReplies(t *testing.T) {
	server := redistest.Start(t)
	svc := warmService(t, server.URL())
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
		eventually(t, "the breaker closes", func() bool { return svc.Stats().Up })
	}
}

// Replies come late, byte by byte, are cut, or never come. No read waits for them, and everything
// works again when the network does.
func TestBadNetwork(t *testing.T) {
	for name, fault := range map[string]redistest.Fault{
		"late":   {Hold: true},
		"drip":   {Delay: 10 * time.Millisecond, PieceBytes: 1}, // a reply would take minutes
		"cut":    {CutAfter: 500},
		"silent": {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.StartProxy(t, redistest.Start(t))
			svc := warmService(t, proxy.URL())
			start, before := time.Now(), proxy.Connections()
			proxy.SetFault(fault)
			svc.readsEnd(t)
			complete := 0
			for range 100 {
				if a := svc.rank(t); len(a.degraded) == 0 {
					complete++
				}
			}
			if complete > 3 { // their replies were on their way
				t.Errorf("%d of 100 answers do not say that they lack something", complete)
			}
			// The reads that open the breaker may dial for each connection that they gave up. After
			// that only the probe dials, five times a second.
			allowed := 32 + int(10*time.Since(start).Seconds())
			if n := proxy.Connections() - before; n > allowed {
				t.Errorf("%d connections were dialed in %v", n, time.Since(start))
			}
			proxy.SetFault(redistest.Fault{})
			svc.waitComplete(t)
		})
	}
}

// Dialing gets no answer, as if packets vanished. No ranking waits for it, and no dials pile up.
func TestUnreachable(t *testing.T) {
	url := "redis://" + redistest.BlackHole(t)
	s := open(t, url, t.TempDir(), storetest.Config(), redis.Options{})
	svc := newService(t, s, []string{"x"})
	for range 50 {
		if a := svc.rank(t); !slices.Contains(a.degraded, ranker.FeaturesMissing) {
			t.Errorf("without Redis: degraded %v", a.degraded)
		}
	}
	s.add(t, click("e", "u", "x"))
	if n := s.conn.PoolStats().TotalConns; n > 64 {
		t.Errorf("%d connections, the limit is 64", n)
	}
}

// While a server loads its data, it refuses every command. Rankings use local copies then.
func TestLoading(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server)
	svc := warmService(t, proxy.URL())
	proxy.SwitchTo(redistest.StartRefusing(t, "LOADING Redis is loading the dataset in memory"))
	svc.add(t, click("e", "u", "item-0"))
	eventually(t, "answers say that they are stale", func() bool {
		return slices.Contains(svc.rank(t).degraded, ranker.FeaturesStale)
	})
	for range 20 {
		if st := svc.read(t, query(t, "u", svc.ids)); st.ItemsRead != len(svc.ids) {
			t.Errorf("%d of %d items could be read", st.ItemsRead, len(svc.ids))
		}
	}
	proxy.SwitchTo(server)
	svc.waitComplete(t)
	svc.waitFlushed(t)
	checkClicksCountOnce(t, svc, []string{"item-0"})
}

// A thousand callers at once wait for their turn. A caller that does not get it in time is
// answered from local copies. That does not open the breaker, and the number of connections stays
// bounded.
func TestManyCallers(t *testing.T) {
	svc := warmService(t, redistest.Start(t).URL())
	q := query(t, "u", svc.ids)
	before := svc.Stats()
	var complete, stale atomic.Int64
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
				complete.Add(1)
			}
			if n := svc.conn.PoolStats().TotalConns; n > 64 {
				t.Errorf("%d connections, the limit is 64", n)
			}
		})
	}
	wg.Wait()
	after := svc.Stats()
	if n := after.RoundTrips - before.RoundTrips; n < complete.Load() {
		t.Errorf("%d round trips for %d complete answers", n, complete.Load())
	}
	if n := after.StaleReads - before.StaleReads; n != stale.Load() {
		t.Errorf("StaleReads counts %d of %d stale answers", n, stale.Load())
	}
	svc.waitComplete(t)
}

// Callers with hardly any time learn nothing about Redis, so their timeouts do not open the
// breaker.
func TestHurriedCallers(t *testing.T) {
	svc := warmService(t, redistest.Start(t).URL())
	before := svc.Stats().Outages
	q := query(t, "u", svc.ids)
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		_, _ = svc.Read(ctx, q) // the time may be over before it starts
		cancel()
	}
	if n := svc.Stats().Outages - before; n != 0 {
		t.Errorf("the breaker opened %d times", n)
	}
}

// Local copies are served however old they are. Answers say that they are stale, and a gauge says
// since when.
func TestAgeOfCopies(t *testing.T) {
	server := redistest.Start(t)
	svc := warmService(t, server.URL())
	server.Kill()
	eventually(t, "the outage is noticed", func() bool {
		svc.rank(t)
		return svc.Stats().BehindFor > 0
	})
	first := svc.Stats().BehindFor
	for range 50 {
		st := svc.read(t, query(t, "u", svc.ids))
		if !st.Stale || st.ItemsRead != len(svc.ids) {
			t.Errorf("%d of %d items were read, stale %v", st.ItemsRead, len(svc.ids), st.Stale)
		}
	}
	if now := svc.Stats().BehindFor; now <= first {
		t.Errorf("BehindFor went from %v to %v, it must rise", first, now)
	}
	server.Start()
	eventually(t, "BehindFor is 0 again", func() bool { return svc.Stats().BehindFor == 0 })
}
