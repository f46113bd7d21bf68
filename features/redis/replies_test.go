package redis_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"relish/features"
	"relish/internal/redistest"
	"relish/ranker"
)

// Row 9: error replies are no answers, and no reason to fail.
func TestErrorReplies(t *testing.T) {
	for name, c := range map[string]struct {
		on    [][]string
		off   []string
		reads bool // reading goes on
	}{
		"oom":        {[][]string{{"CONFIG", "SET", "maxmemory", "1mb"}}, []string{"CONFIG", "SET", "maxmemory", "0"}, true},
		"readonly":   {[][]string{{"REPLICAOF", "127.0.0.1", "1"}}, []string{"REPLICAOF", "NO", "ONE"}, true},
		"masterdown": {[][]string{{"CONFIG", "SET", "replica-serve-stale-data", "no"}, {"REPLICAOF", "127.0.0.1", "1"}}, []string{"REPLICAOF", "NO", "ONE"}, false},
		"noauth":     {[][]string{{"CONFIG", "SET", "requirepass", "secret"}}, []string{"CONFIG", "SET", "requirepass", ""}, false},
		"busy":       {[][]string{{"CONFIG", "SET", "busy-reply-threshold", "10"}}, []string{"SCRIPT", "KILL"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			svc := loaded(t, server.URL())
			for _, cmd := range c.on {
				server.Do(cmd...)
			}
			var script sync.WaitGroup
			switch name {
			case "noauth":
				server.Auth = "secret"
				server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			case "busy":
				script.Go(func() { _, _ = server.Try("EVAL", "while true do end", "0") }) // until it is killed
				eventually(t, "the server is busy", func() bool { out, err := server.Try("PING"); return err == nil && strings.HasPrefix(out, "-BUSY") })
			}
			svc.add(t, click("e", "u", "item-0")) // acknowledged
			for range 20 {
				svc.rank(t)
				if st := svc.read(t, query(t, "u", svc.ids)); st.ItemsRead != len(svc.ids) {
					t.Errorf("%d of %d items could be read", st.ItemsRead, len(svc.ids))
				}
			}
			if c.reads {
				eventually(t, "Redis is still asked", func() bool {
					before := svc.Stats().RoundTrips
					svc.rank(t)
					return svc.Stats().RoundTrips > before
				})
			}
			eventually(t, "the answers say that Redis lacks something", func() bool { return slices.Contains(svc.rank(t).degraded, ranker.FeaturesStale) })
			server.Do(c.off...)
			script.Wait()
			server.Auth = ""
			svc.whole(t)
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
	svc.whole(t)
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
	if st := other.read(t, query(t, "u", ids)); st.ItemsRead != len(ids) {
		t.Errorf("read %d of %d", st.ItemsRead, len(ids))
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
