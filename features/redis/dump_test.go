package redis_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"relish/features"
	"relish/features/arrowio"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// Row 16 and rebuilding: what replicas have in Redis, written out and restored into an empty Redis, or made anew
// from their logs, is the same; and what comes after counts on.
func TestDumpRestoreRebuild(t *testing.T) {
	for name, url := range map[string]string{"server": redistest.Start(t).URL(), "cluster": redistest.StartCluster(t, 3, 0).URL()} {
		t.Run(name, func(t *testing.T) {
			evs := storetest.Events(rand.New(rand.NewPCG(9, 9)), 300)
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
			sch := storetest.WideSchema(t)
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
			if _, err := arrowio.Write(snap, d); err != nil {
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
			loaded, err := arrowio.Load(snap, features.DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			if err := redis.Restore(t.Context(), conn, loaded, nil); err != nil {
				t.Fatal(err)
			}
			reopen("restored")
			if err := redis.Drop(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			reopen("rebuilt")
		})
	}
}
