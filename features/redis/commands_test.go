package redis_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/features/storetest"
	"relish/internal/redistest"
	"relish/ranker"
)

// cost is what some servers did: commands, MGETs and PINGs among them, keys that were looked up,
// reads from sockets, bytes received and sent.
type cost struct{ commands, mgets, pings, keys, reads, in, out int64 }

func (c cost) minus(o cost) cost {
	return cost{
		c.commands - o.commands,
		c.mgets - o.mgets,
		c.pings - o.pings,
		c.keys - o.keys,
		c.reads - o.reads,
		c.in - o.in,
		c.out - o.out,
	}
}

// similar reports whether two measurements differ by a few digits of INFO at most.
func similar(a, b cost) bool {
	d := a.minus(b)
	return d.commands == 0 && d.mgets == 0 && d.pings == 0 && d.keys == 0 &&
		max(d.in, -d.in) < 100 && max(d.out, -d.out) < 100
}

// costOf sends one command to each server.
func costOf(t *testing.T, servers []*redistest.Server) (c cost) {
	t.Helper()
	for _, s := range servers {
		info := s.Do("INFO", "all")
		number := func(prefix string) int64 {
			_, rest, found := strings.Cut(info, "\n"+prefix)
			if !found {
				return 0
			}
			end := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsDigit(r) })
			n, err := strconv.ParseInt(rest[:end], 10, 64)
			if err != nil {
				t.Fatalf("INFO has no number after %s: %v", prefix, err)
			}
			return n
		}
		c.commands += number("total_commands_processed:")
		c.mgets += number("cmdstat_mget:calls=")
		c.pings += number("cmdstat_ping:calls=")
		c.keys += number("keyspace_hits:") + number("keyspace_misses:")
		c.reads += number("total_reads_processed:")
		c.in += number("total_net_input_bytes:")
		c.out += number("total_net_output_bytes:")
	}
	return c
}

// measure returns what run costs. The replicas do something in the background four times a second,
// so it measures until nothing but run and costOf has sent a command, twice with the same result: a
// server may have read a part of a command that it counts later.
func measure(t *testing.T, servers []*redistest.Server, run func()) cost {
	t.Helper()
	undisturbed := func(run func()) (c cost) {
		eventually(t, "two equal measurements that nothing disturbs", func() bool {
			last, before := c, costOf(t, servers)
			run()
			c = costOf(t, servers).minus(before)
			return c.commands == int64(len(servers))+c.mgets+c.pings && similar(c, last)
		})
		return c
	}
	idle := undisturbed(func() {})
	return undisturbed(run).minus(idle)
}

// measureWarm returns what a ranking costs whose contents all have copies. The ranking looks up so
// many keys.
func measureWarm(
	t *testing.T, servers []*redistest.Server, s *testStore, q *ranker.FeatureQuery, keys int,
) (c cost) {
	t.Helper()
	eventually(t, fmt.Sprintf("a ranking reads %d keys", keys), func() bool {
		c = measure(t, servers, func() { readComplete(t, s, q) })
		return c.keys == int64(keys)
	})
	return c
}

// warmReplica opens a replica that has not written what it ranks, and reads once.
func warmReplica(t *testing.T, url string, candidates int) (s *testStore, q *ranker.FeatureQuery) {
	t.Helper()
	ids := addItems(t, openReplicas(t, url, 1)[0], 300)
	s = openReplicas(t, url, 1)[0]
	q = query(t, "u", ids[:candidates]) // the history holds the last hundred items
	before := s.Stats().RoundTrips
	readComplete(t, s, q)
	if n := s.Stats().RoundTrips - before; n != 2 {
		t.Errorf("%d round trips of a new replica, want 2: candidates, then the history", n)
	}
	return s, q
}

// readComplete reads, and checks that nothing is missing.
func readComplete(t testing.TB, s *testStore, q *ranker.FeatureQuery) {
	t.Helper()
	st := s.read(t, q)
	if st.ItemsRead != len(q.Candidates) || st.Stale || st.RecentItems[0] == nil ||
		st.Items[0] == nil {
		t.Fatalf("the state is incomplete: %+v", st)
	}
}

// A key has about 40 bytes with its length, a candidate's value about 200. The user's value with
// the history has 15,000.
const (
	keyBytes       = 60
	candidateBytes = 250
	userBytes      = 20_000
)

// refuseTracking lets a server announce no changes, as some that speak Redis' protocol do.
func refuseTracking(server *redistest.Server) {
	server.Do("ACL", "SETUSER", "default", "-client|tracking")
}

// If the server announces no changes, a ranking costs one MGET, whatever its size, and transfers
// only what it needs.
func TestCommandsAndBytes(t *testing.T) {
	server := redistest.Start(t)
	refuseTracking(server)
	for _, n := range []int{50, 200} {
		s, q := warmReplica(t, server.URL()+fmt.Sprint("?prefix=t", n), n)
		c := measureWarm(t, []*redistest.Server{server}, s, q, 1+n)
		if c.mgets != 1 || c.reads != 1 {
			t.Errorf("%d candidates: %d MGETs in %d reads, want 1 in 1", n, c.mgets, c.reads)
		}
		if c.in > int64(keyBytes*n+200) || c.out > int64(candidateBytes*n+userBytes) {
			t.Errorf("%d candidates: %d bytes to Redis and %d from it", n, c.in, c.out)
		}
		t.Logf("%d candidates: %d bytes to Redis, %d from it", n, c.in, c.out)
		if s.Stats().Tracking {
			t.Error("the statistics say that Redis announces changes")
		}
	}
}

// A server that announces changes is asked for nothing but what has changed: with one PING if
// nothing has, otherwise with one MGET.
func TestCommandsWithTracking(t *testing.T) {
	server := redistest.Start(t)
	servers := []*redistest.Server{server}
	s, q := warmReplica(t, server.URL(), 200)
	c := measureWarm(t, servers, s, q, 0)
	if c.mgets != 0 || c.pings != 1 || c.reads != 1 || c.in > 100 || c.out > 100 {
		t.Errorf("nothing has changed: %+v, want one PING", c)
	}
	if !s.Stats().Tracking {
		t.Error("the statistics say that Redis announces no changes")
	}
	other := openReplicas(t, server.URL(), 1)[0]
	round := 0
	eventually(t, "nothing disturbs a measurement after five items have changed", func() bool {
		for i := range 5 {
			round++
			other.add(t, click(fmt.Sprint("changed", round), "other", q.Candidates[7*i].ID))
		}
		before, idle := costOf(t, servers), costOf(t, servers)
		readComplete(t, s, q)
		c = costOf(t, servers).minus(idle)
		idle = idle.minus(before)
		return c.commands == 2 && c.mgets == 1 && c.keys == 5 && c.in-idle.in < 5*keyBytes+100 &&
			c.out-idle.out < 5*candidateBytes+100
	})
	// What this replica changes itself is known before the server announces it.
	s.add(t, click("own", "u", q.Candidates[0].ID))
	before := s.Stats().RoundTrips
	if st := s.read(t, q); st.Recent[0].Item != q.Candidates[0].ID {
		t.Errorf("the last interaction is %+v, want the own one", st.Recent[0])
	}
	if n := s.Stats().RoundTrips - before; n != 1 {
		t.Errorf("%d round trips after an own change, want 1", n)
	}
}

// Items that are ranked again and again keep their copies while others come once.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	server := redistest.Start(t)
	ids := addItems(t, openReplicas(t, server.URL(), 1)[0], 300)
	opt := generous
	opt.CacheBytes = 200 << 10 // less than 200 items
	s := open(t, server.URL(), t.TempDir(), storetest.Config(), opt)
	s.waitFlushed(t)
	often := query(t, "nobody", ids[:50])
	for from := 50; from < len(ids); from += 10 {
		s.read(t, often)
		s.read(t, query(t, "nobody", ids[from:from+10]))
	}
	eventually(t, "the unknown user is all that is read", func() bool {
		c := measure(t, []*redistest.Server{server}, func() { s.read(t, often) })
		return c.mgets == 1 && c.keys == 1
	})
}

// On a cluster, a ranking costs one MGET for each hash tag that occurs. Each node gets its share
// in one piece.
func TestClusterCommands(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 0)
	s, q := warmReplica(t, cluster.URL(), 200)
	tags := map[uint64]bool{xxhash.Sum64String(features.UserHash("u")) % 256: true}
	for _, c := range q.Candidates {
		tags[xxhash.Sum64String(c.ID)%256] = true
	}
	c := measureWarm(t, cluster.Nodes, s, q, 1+len(q.Candidates))
	if c.mgets != int64(len(tags)) || c.reads != 3 {
		t.Errorf("%d MGETs in %d reads, want %d in 3", c.mgets, c.reads, len(tags))
	}
	if c.in > 200*keyBytes+int64(len(tags))*40 || c.out > 200*candidateBytes+userBytes {
		t.Errorf("%d bytes to Redis and %d from it", c.in, c.out)
	}
	t.Logf("%d hash tags: %d bytes to Redis, %d from it", len(tags), c.in, c.out)
}

// A ranking allocates nothing for each candidate if nothing has changed, and one string for each if
// Redis is asked for all of them: what it answers.
func TestReadAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		prepare      func(*redistest.Server)
		few, further float64 // most allocations for 100 candidates, and for 100 more
	}{
		"unchanged": {func(*redistest.Server) {}, 35, 5},
		"all read":  {refuseTracking, 180, 110},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			c.prepare(server)
			s, q := warmReplica(t, server.URL(), 200)
			allocations := func(candidates int) float64 {
				part := *q
				part.Candidates = q.Candidates[:candidates]
				return testing.AllocsPerRun(200, func() { readComplete(t, s, &part) })
			}
			few, many := allocations(100), allocations(200)
			t.Logf("%.0f allocations for 100 candidates, %.0f for 200", few, many)
			if few > c.few || many-few > c.further {
				t.Errorf("want at most %.0f for 100 candidates, and %.0f for 100 further ones",
					c.few, c.further)
			}
		})
	}
}
