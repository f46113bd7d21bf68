package redis_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"relish/features"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redisconn"
	"relish/internal/redistest"
	"relish/ranker"
)

// backend runs the conformance suite on a Redis. Each test has a tenant of its own.
func backend(url string) storetest.Backend {
	return storetest.Backend{
		Open: func(t *testing.T, cfg features.Config) ranker.Store {
			dir := t.TempDir()
			s := open(t, url+"?prefix="+prefixOf(dir), dir, cfg, generous)
			s.waitFlushed(t)
			return s
		},
		Reopen: func(t *testing.T, store ranker.Store) ranker.Store {
			s := store.(*testStore)
			s.close(t)
			s.reopen(t)
			s.waitFlushed(t)
			return s
		},
	}
}

func TestConformance(t *testing.T) {
	t.Run("server", func(t *testing.T) { storetest.Run(t, backend(redistest.Start(t).URL())) })
	t.Run("cluster", func(t *testing.T) {
		storetest.Run(t, backend(redistest.StartCluster(t, 3, 0).URL()))
	})
}

// A Redis user with the permissions that docs/operations.md lists is enough.
func TestLeastPrivilege(t *testing.T) {
	server, cluster := redistest.Start(t), redistest.StartCluster(t, 3, 0)
	for name, c := range map[string]struct {
		url   string
		nodes []*redistest.Server
		more  string // permissions
	}{
		"server":  {server.URL(), []*redistest.Server{server}, ""},
		"cluster": {cluster.URL(), cluster.Nodes, "+cluster|slots +command"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range c.nodes {
				rules := strings.Fields("~shop:relish:* +@read +@write +@scripting +@connection " +
					"-@dangerous +info " + c.more)
				n.Do(append([]string{"ACL", "SETUSER", "shop", "on", ">secret"}, rules...)...)
				n.Do("ACL", "SETUSER", "default", "off")
			}
			url := strings.Replace(c.url, "://", "://shop:secret@", 1) + "?prefix=shop"
			checkAllOperations(t, url)
		})
	}
}

// checkAllOperations makes a store do everything that needs a permission.
func checkAllOperations(t *testing.T, url string) {
	s := open(t, url, t.TempDir(), storetest.Config(), generous)
	s.waitFlushed(t)
	s.add(t, itemWithTitle("d", "x", "title"), click("e", "u", "x"))
	st := s.read(t, query(t, "u", []string{"x"}))
	if st.Stale || len(st.Recent) != 1 || st.Items[0] == nil {
		t.Errorf("state %+v, want one click and the item", st)
	}
	if err := s.EraseUser(t.Context(), "u"); err != nil {
		t.Error(err)
	}
	s.close(t)
	conn, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d, err := redis.Dump(t.Context(), conn, s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range d.Items {
		if err != nil || r.Item.Title != "title" {
			t.Errorf("dumped item %+v, %v", r, err)
		}
	}
	if err := redis.Rebuild(t.Context(), conn, s.cfg, nil, []string{s.dir}, nil); err != nil {
		t.Error(err)
	}
	if n := s.Stats().Outages; n != 0 {
		t.Errorf("%d outages, want 0", n)
	}
}

// Every key expires, and lies under the tenant's prefix.
func TestEveryKeyExpires(t *testing.T) {
	server := redistest.Start(t)
	s := openReplicas(t, server.URL()+"?prefix=tenant", 1)[0]
	s.add(t, itemWithTitle("d", "x", "title"), click("e", "u", "x"))
	if _, err := s.DeleteItem(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	s.add(t, itemWithTitle("d2", "x", "title"))
	eventually(t, "the counters are published", func() bool {
		isPart := func(key string) bool { return strings.Contains(key, "}p:") }
		return slices.ContainsFunc(keysOf(t, server), isPart)
	})
	for _, key := range keysOf(t, server) {
		if !strings.HasPrefix(key, "tenant:relish:") {
			t.Errorf("%s is not under the tenant's prefix", key)
		}
		if ttl := server.Do("PTTL", key); strings.HasPrefix(ttl, ":-") {
			t.Errorf("%s never expires: PTTL is %s", key, ttl)
		}
	}
}

// The commands of a read carry a deadline within Options.ReadTimeout, which 1,000 candidates
// double. Without announcements of changes, each read has such a command.
func TestReadDeadlines(t *testing.T) {
	server := redistest.Start(t)
	refuseTracking(server)
	s := open(t, server.URL(), t.TempDir(), storetest.Config(), redis.Options{})
	ids := addItems(t, s, 100)
	recorder := &deadlineRecorder{}
	s.conn.AddHook(recorder)
	for _, n := range []int{1, 100} {
		recorder.reset()
		q := query(t, "u", ids[:n])
		eventually(t, "a read asks Redis", func() bool {
			_, _ = s.Read(t.Context(), q)
			return len(recorder.mgets()) > 0
		})
		limit := 20*time.Millisecond + time.Duration(1+n)*20*time.Microsecond
		for _, w := range recorder.mgets() {
			if w <= 0 || w > limit {
				t.Errorf("%d candidates: an MGET may take %v, the limit is %v", n, w, limit)
			}
		}
	}
}
