package redis_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/journal"
	"relish/features/redis"
	"relish/internal/redistest"
	"relish/ranker"
	"relish/ranker/blend"
	"relish/ranker/match"
)

// service is a store behind the real pipeline, asked without end by several callers.
type service struct {
	*opened
	pipeline *ranker.Pipeline
	ids      []string

	mu      sync.Mutex
	answers []answer
	stop    context.CancelFunc
	callers sync.WaitGroup
}

type answer struct {
	at       time.Time
	took     time.Duration
	degraded []string
	coverage float64
}

// deadline is the requests' own; an answer may be late by what a busy machine with two cores adds.
const (
	deadline = 100 * time.Millisecond
	slack    = 100 * time.Millisecond
)

func serve(t *testing.T, s *opened, ids []string) *service {
	t.Helper()
	schema, err := blend.PriorSchema(s.cfg.Fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	prior, err := blend.NewPrior(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ranker.New(ranker.Options{Features: s, TextSpec: ranker.DefaultTextSpec,
		Models: blend.Models(&ranker.Model{Version: "prior", Schema: schema, Matchers: []ranker.Matcher{match.TokenOverlap{}}, Blend: prior})})
	if err != nil {
		t.Fatal(err)
	}
	return &service{opened: s, pipeline: p, ids: ids}
}

// rank asks once, and checks what must hold whatever happens: an answer, in time, with every candidate once.
func (s *service) rank(t testing.TB) answer {
	req := &ranker.Request{ID: "r", User: "u", Deadline: deadline}
	for _, id := range s.ids {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
	}
	start := time.Now()
	resp, err := s.pipeline.Rank(t.Context(), req)
	a := answer{at: start, took: time.Since(start)}
	if err != nil {
		t.Errorf("no answer: %v", err)
		return a
	}
	if a.took > deadline+slack {
		t.Errorf("an answer after %v", a.took)
	}
	var got []string
	for _, it := range resp.Items {
		got = append(got, it.ID)
	}
	want := slices.Clone(s.ids)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d of %d candidates are in the answer", len(got), len(want))
	}
	if resp.Coverage.Features < 1 && !slices.Contains(resp.Degraded, ranker.FeaturesMissing) {
		t.Errorf("coverage %v is not said in %v", resp.Coverage.Features, resp.Degraded)
	}
	a.degraded, a.coverage = resp.Degraded, resp.Coverage.Features
	return a
}

// load asks from several callers until end.
func (s *service) load(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	for range 4 {
		s.callers.Go(func() {
			for ctx.Err() == nil {
				a := s.rank(t)
				s.mu.Lock()
				s.answers = append(s.answers, a)
				s.mu.Unlock()
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
}

func (s *service) end() []answer {
	s.stop()
	s.callers.Wait()
	return s.answers
}

// whole waits until answers lack nothing again, and fails if that takes longer than it may.
func (s *service) whole(t *testing.T, within time.Duration) {
	t.Helper()
	start := time.Now()
	eventually(t, "answers are whole again", func() bool { return len(s.rank(t).degraded) == 0 })
	if took := time.Since(start); took > within {
		t.Errorf("answers were whole again after %v, want %v at most", took, within)
	}
}

// loaded is a service that has ranked everything once: it holds local copies.
func loaded(t *testing.T, url string) *service {
	t.Helper()
	s := open(t, url, t.TempDir(), features.DefaultConfig(), redis.Options{})
	svc := serve(t, s, catalogue(t, s, 100))
	svc.whole(t, 5*time.Second)
	return svc
}

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
	svc.whole(t, 1500*time.Millisecond)
	if st := s.read(t, query(t, "u", []string{"x"})); len(st.Recent) != 1 {
		t.Errorf("the event from before is not there: %v", st.Recent)
	}
}

// Rows 2, 3 and 11: Redis killed, hung, or empty again, under load. What was acknowledged meanwhile counts once
// afterwards.
func TestRedisGoesAway(t *testing.T) {
	for name, c := range map[string]struct{ away, back func(*redistest.Server) }{
		"killed":  {(*redistest.Server).Kill, (*redistest.Server).Start}, // it comes back empty
		"hung":    {(*redistest.Server).Stop, (*redistest.Server).Continue},
		"flushed": {func(s *redistest.Server) { s.Do("FLUSHALL") }, func(*redistest.Server) {}},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			svc := loaded(t, server.URL())
			svc.load(t)
			time.Sleep(200 * time.Millisecond)
			c.away(server)
			gone := time.Now()
			for i := range 20 {
				svc.add(t, click(fmt.Sprint("away", i), "u", "item-0"))
				time.Sleep(20 * time.Millisecond)
			}
			c.back(server)
			back := time.Now()
			svc.whole(t, 2*time.Second)
			svc.flush(t)
			var silent, late int
			for _, a := range svc.end() {
				if a.at.After(gone.Add(time.Second/4)) && a.at.Add(a.took).Before(back) && name != "flushed" && !slices.Contains(a.degraded, ranker.FeaturesStale) {
					silent++
				}
				if a.at.After(gone.Add(time.Second/4)) && a.at.Before(back) && a.took > deadline/2 {
					late++ // the breaker is open: nobody waits for Redis
				}
			}
			if silent > 0 {
				t.Errorf("%d answers made from local copies do not say so", silent)
			}
			if late > 5 {
				t.Errorf("%d answers waited with the breaker open", late)
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
		server.Stop()
		for range 5 {
			svc.rank(t)
		}
		server.Continue()
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
		"drip":   {Delay: 10 * time.Millisecond, Slice: 1},
		"cut":    {Cut: 500},
		"silent": {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.StartProxy(t, redistest.Start(t))
			svc := loaded(t, proxy.URL())
			before := proxy.Opened()
			proxy.Set(fault)
			start := time.Now()
			stale, n := 0, 0
			for time.Since(start) < 500*time.Millisecond {
				if a := svc.rank(t); slices.Contains(a.degraded, ranker.FeaturesStale) {
					stale++
				}
				n++
			}
			if stale < n-3 {
				t.Errorf("%d of %d answers say that they are stale", stale, n)
			}
			if opened := proxy.Opened() - before; opened > 64 {
				t.Errorf("%d connections were dialled in half a second", opened)
			}
			proxy.Set(redistest.Fault{})
			svc.whole(t, 3*time.Second)
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

// Row 9: error replies are no answers, and no reason to fail.
func TestErrorReplies(t *testing.T) {
	for name, c := range map[string]struct {
		on, off []string
		reads   bool // reading goes on
	}{
		"oom":      {[]string{"CONFIG", "SET", "maxmemory", "1mb"}, []string{"CONFIG", "SET", "maxmemory", "0"}, true},
		"readonly": {[]string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}, true},
		"noauth":   {[]string{"CONFIG", "SET", "requirepass", "secret"}, []string{"CONFIG", "SET", "requirepass", ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			svc := loaded(t, server.URL())
			server.Do(c.on...)
			if name == "noauth" {
				server.Auth = "secret"
				server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			}
			svc.add(t, click("e", "u", "item-0")) // acknowledged
			for range 20 {
				a := svc.rank(t)
				if c.reads && a.coverage != 1 {
					t.Errorf("reading does not go on: %v", a)
				}
			}
			eventually(t, "the answers say that Redis lacks something", func() bool { return slices.Contains(svc.rank(t).degraded, ranker.FeaturesStale) })
			server.Do(c.off...)
			server.Auth = ""
			svc.whole(t, 4*time.Second)
			svc.flush(t)
		})
	}
}

// Row 10: the primary dies and a replica takes over, by Sentinel or in a cluster. Writes go on after it, and what the
// replica had not received is applied again.
func TestFailover(t *testing.T) {
	t.Run("sentinel", func(t *testing.T) {
		primary := redistest.Start(t)
		redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port))
		url := redistest.StartSentinel(t, primary)
		eventually(t, "the replica is connected", func() bool { return primary.Info("replication", "connected_slaves") == 1 })
		time.Sleep(2 * time.Second) // the sentinel asks the primary for its replicas
		failover(t, loaded(t, url), primary)
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t, 3, 1)
		failover(t, loaded(t, c.URL()), c.Nodes[1])
	})
}

func failover(t *testing.T, svc *service, primary *redistest.Server) {
	t.Helper()
	svc.load(t)
	for i := range 10 {
		svc.add(t, click(fmt.Sprint("before", i), "u", fmt.Sprint("item-", i)))
	}
	primary.Kill()
	for i := range 30 {
		svc.add(t, click(fmt.Sprint("during", i), "u", fmt.Sprint("item-", i)))
		time.Sleep(10 * time.Millisecond)
	}
	svc.whole(t, 12*time.Second)
	svc.flush(t)
	svc.end()
	want := features.New(svc.cfg)
	replay(t, want, svc.dir)
	q := query(t, "u", svc.ids)
	w, err := want.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "every click counts once", func() bool {
		st := svc.read(t, q)
		for i := range svc.ids {
			if st.Columns[3*i] != w.Columns[3*i] {
				return false
			}
		}
		return !st.Stale
	})
}

// Rows 13 and 14: what somebody else wrote under our keys counts as missing, and is counted; it is no error. The
// next event rewrites it.
func TestGarbage(t *testing.T) {
	server := redistest.Start(t)
	s := replicas(t, server.URL(), 1)[0]
	ids := catalogue(t, s, 8)
	for i, key := range keysOf(t, server) {
		if !strings.Contains(key, "}i:") && !strings.Contains(key, "}u:") && !strings.Contains(key, "}c:") {
			continue
		}
		switch i % 3 {
		case 0:
			server.Do("SET", key, strings.Repeat("x", 5+i))
		case 1:
			server.Do("DEL", key)
			server.Do("LPUSH", key, "x")
		case 2:
			server.Do("SETRANGE", key, "20", "\xff\xfe\xfd")
		}
	}
	other := replicas(t, server.URL(), 1)[0] // holds no copies
	if st := other.read(t, query(t, "u", ids)); st.Read != len(ids) {
		t.Errorf("read %d of %d", st.Read, len(ids))
	}
	if other.Stats().Invalid == 0 {
		t.Error("damaged values are not counted")
	}
	for i, id := range ids {
		other.add(t, described(fmt.Sprint("again", i), id, "new title"), click(fmt.Sprint("more", i), "u", id))
	}
	st := other.read(t, query(t, "u", ids))
	for i := range ids {
		if st.Items[i] == nil || st.Items[i].Title != "new title" || st.Columns[3*i] == 0 {
			t.Errorf("item %d was not rewritten: %+v", i, st.Items[i])
		}
	}
}

// Row 15: a thousand callers at once wait for a connection within their time, and no more are dialled than the
// bound.
func TestManyCallers(t *testing.T) {
	proxy := redistest.StartProxy(t, redistest.Start(t))
	svc := loaded(t, proxy.URL())
	q := query(t, "u", svc.ids)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if st, err := svc.Read(ctx, q); err != nil || len(st.Items) != len(svc.ids) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if n := proxy.Opened(); n > 80 {
		t.Errorf("%d connections were opened", n)
	}
	svc.whole(t, 3*time.Second)
}

// replay applies a folder's log to a state.
func replay(t testing.TB, s *features.State, dir string) {
	t.Helper()
	for rec, err := range eventlog.Read(journal.LogDir(dir), 1) {
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(&rec)
	}
}
