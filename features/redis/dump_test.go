package redis_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/features/redis"
	"relish/features/snapshot"
	"relish/features/storetest"
	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// Row 16 and rebuilding: what replicas have in Redis, written out and restored, or made anew from their logs by
// themselves or all at once, is the same; and what comes after counts on.
func TestDumpRestoreRebuild(t *testing.T) {
	cluster, server := redistest.StartCluster(t, 3, 0), redistest.Start(t)
	for name, c := range map[string]struct {
		url   string
		nodes []*redistest.Server
	}{"server": {server.URL(), []*redistest.Server{server}}, "cluster": {cluster.URL(), cluster.Nodes}} {
		t.Run(name, func(t *testing.T) {
			url := c.url
			evs := storetest.RandomEvents(rand.New(rand.NewPCG(9, 9)), 300)
			r := replicas(t, url, 2)
			r[0].add(t, slices.Clone(evs[:100])...)
			r[1].add(t, slices.Clone(evs[100:])...)
			for _, s := range r {
				s.flush(t)
			}
			want := features.New(features.DefaultConfig())
			for _, s := range r {
				replay(t, want, s.dir)
			}
			sch := storetest.AllCountersSchema(t)
			same := func(s *opened) func() bool { return func() bool { return sameState(t, sch, want, s) } }
			for _, s := range r {
				eventually(t, "before", same(s))
				s.close(t) // publishes its part
			}
			conn, err := redisconn.Open(url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			d, err := redis.Dump(t.Context(), conn, features.DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			snap := filepath.Join(t.TempDir(), "snap")
			if _, err := snapshot.Write(snap, d); err != nil {
				t.Fatal(err)
			}

			reopen := func(what string) {
				t.Helper()
				for _, s := range r {
					conn, err := redisconn.Open(url)
					if err != nil {
						t.Fatal(err)
					}
					if s.Store, err = redis.Open(s.dir, conn, s.cfg, s.opt); err != nil {
						t.Fatal(err)
					}
					s.conn, s.closed = conn, false
					s.flush(t)
				}
				for i, s := range r {
					eventually(t, fmt.Sprint(what, ", replica ", i), same(s))
				}
				id := fmt.Sprint("after ", what)
				ev := click(id, "u0", "it0")
				r[1].add(t, ev)
				want = features.New(features.DefaultConfig())
				for _, s := range r {
					replay(t, want, s.dir)
					s.flush(t)
				}
				for _, s := range r {
					eventually(t, what+", and a click after it", same(s))
					s.close(t)
				}
			}
			// The snapshot does not have what came after it; the logs do.
			reopen("as it was")
			loaded, err := snapshot.Load(snap, features.DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			if err := redis.Restore(t.Context(), conn, loaded, nil); err != nil {
				t.Fatal(err)
			}
			reopen("restored")
			for _, n := range c.nodes {
				n.Do("FLUSHALL")
			}
			reopen("emptied")
			if err := redis.Rebuild(t.Context(), conn, features.DefaultConfig(), nil, []string{r[0].dir, r[1].dir}, nil); err != nil {
				t.Fatal(err)
			}
			reopen("rebuilt")
			if err := redis.Rebuild(t.Context(), conn, features.DefaultConfig(), loaded, []string{r[0].dir, r[1].dir}, nil); err != nil {
				t.Fatal(err)
			}
			reopen("rebuilt from a snapshot and logs")
		})
	}
}

// A rebuild beside a running replica: it brings in its own log, whatever it wrote meanwhile, and what it has in common
// with a replica that was rebuilt counts once.
func TestRebuildBesideReplica(t *testing.T) {
	server := redistest.Start(t)
	r := replicas(t, server.URL(), 2)
	evs := storetest.RandomEvents(rand.New(rand.NewPCG(4, 4)), 300)
	r[0].add(t, slices.Clone(evs[:200])...)
	r[1].add(t, slices.Clone(evs[150:])...) // a sixth was sent to both
	r[0].close(t)
	want := features.New(features.DefaultConfig())
	for i := range evs {
		want.Apply(&event.Record{Seq: uint64(i + 1), Arrival: time.Now().UnixMilli(), Event: evs[i]})
	}
	conn, err := redisconn.Open(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sch := storetest.AllCountersSchema(t)
	for i := range 3 {
		if err := redis.Rebuild(t.Context(), conn, features.DefaultConfig(), nil, []string{r[0].dir}, nil); err != nil {
			t.Fatal(err)
		}
		ev := click(fmt.Sprint("meanwhile", i), "u0", "it0")
		r[1].add(t, ev)
		want.Apply(&event.Record{Seq: uint64(len(evs) + i + 1), Arrival: time.Now().UnixMilli(), Event: ev})
		eventually(t, "the running replica has brought in its log", func() bool { return !r[1].Stats().Behind && sameState(t, sch, want, r[1]) })
	}
}
