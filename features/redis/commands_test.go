package redis_test

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/internal/redistest"
	"relish/ranker"
)

// cost is what some servers had to do.
type cost struct{ mgets, reads, in, out int64 }

func costOf(servers []*redistest.Server) (c cost) {
	for _, s := range servers {
		c.mgets += s.Calls("mget")
		c.reads += s.Info("stats", "total_reads_processed")
		c.in += s.Info("stats", "total_net_input_bytes")
		c.out += s.Info("stats", "total_net_output_bytes")
	}
	return c
}

// measure returns what do costs beyond looking at it, without what the background adds at times: the least of many.
func measure(servers []*redistest.Server, do func()) (least cost) {
	look := func(do func()) (least cost) {
		for i := range 12 {
			before := costOf(servers)
			do()
			after := costOf(servers)
			c := cost{after.mgets - before.mgets, after.reads - before.reads, after.in - before.in, after.out - before.out}
			if i == 0 {
				least = c
			}
			least = cost{min(least.mgets, c.mgets), min(least.reads, c.reads), min(least.in, c.in), min(least.out, c.out)}
		}
		return least
	}
	idle, busy := look(func() {}), look(do)
	return cost{busy.mgets - idle.mgets, busy.reads - idle.reads, busy.in - idle.in, busy.out - idle.out}
}

// warm opens a replica that has not written what it ranks, and ranks until it asks for nothing twice.
func warm(t *testing.T, url string, candidates int) (s *opened, q *ranker.FeatureQuery) {
	t.Helper()
	ids := catalogue(t, replicas(t, url, 1)[0], 300)
	s = replicas(t, url, 1)[0]
	q = query(t, "u", ids[:candidates]) // the history is the last hundred
	before := s.Stats().RoundTrips
	s.whole(t, q)
	if n := s.Stats().RoundTrips - before; n != 2 {
		t.Errorf("%d round trips of a new replica, want 2: one for user and candidates, one for the history", n)
	}
	eventually(t, "one round trip", func() bool {
		before := s.Stats().RoundTrips
		s.whole(t, q)
		return s.Stats().RoundTrips-before == 1
	})
	return s, q
}

// whole reads, and checks that nothing is missing.
func (o *opened) whole(t testing.TB, q *ranker.FeatureQuery) {
	t.Helper()
	if st := o.read(t, q); st.ItemsRead != len(q.Candidates) || st.Stale || st.RecentItems[0] == nil || st.Items[0] == nil {
		t.Fatalf("not the whole state: %+v", st)
	}
}

// A ranking costs one MGET whatever its size, and sends and gets what it needs.
func TestCommandsAndBytes(t *testing.T) {
	server := redistest.Start(t)
	for _, n := range []int{50, 200} {
		s, q := warm(t, server.URL()+fmt.Sprint("?prefix=t", n), n)
		c := measure([]*redistest.Server{server}, func() { s.whole(t, q) })
		if c.mgets != 1 || c.reads != 1 {
			t.Errorf("%d candidates: %d MGETs in %d reads, want 1 in 1", n, c.mgets, c.reads)
		}
		// A key has about 40 bytes with its length, a value about 200; the user's, with his history, 15,000.
		if c.in > int64(60*n+200) || c.out > int64(250*n+20_000) {
			t.Errorf("%d candidates: %d bytes to Redis and %d from it", n, c.in, c.out)
		}
		t.Logf("%d candidates: %d bytes to Redis, %d from it", n, c.in, c.out)
	}
}

// On a cluster it costs one MGET for each hash tag that occurs, and each node reads its share in one piece.
func TestClusterCommands(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 0)
	s, q := warm(t, cluster.URL(), 200)
	buckets := map[uint64]bool{xxhash.Sum64String(features.UserHash("u")) % 256: true}
	for _, c := range q.Candidates {
		buckets[xxhash.Sum64String(c.ID)%256] = true
	}
	c := measure(cluster.Nodes, func() { s.whole(t, q) })
	if c.mgets != int64(len(buckets)) || c.reads != 3 {
		t.Errorf("%d MGETs in %d reads, want %d in 3", c.mgets, c.reads, len(buckets))
	}
	if c.in > 200*60+int64(len(buckets))*40 || c.out > 200*250+20_000 {
		t.Errorf("%d bytes to Redis and %d from it", c.in, c.out)
	}
	t.Logf("%d buckets: %d bytes to Redis, %d from it", len(buckets), c.in, c.out)
}
