package redis_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"relish/features/ingest"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redistest"
)

// waitClicks waits until a store counts n clicks on an item.
func waitClicks(t *testing.T, s *testStore, item string, n int) {
	t.Helper()
	q, got := query(t, "u", []string{item}), float32(0)
	eventually(t, fmt.Sprintf("%s has %d clicks", item, n), func() bool {
		got = s.read(t, q).Columns[0]
		return got == float32(math.Log1p(float64(n)))
	})
}

// A replica of Redis takes over so quickly that no command fails, and lacks the newest writes. They
// are applied again, once.
func TestUnnoticedFailover(t *testing.T) {
	primary := redistest.Start(t)
	next := redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port))
	proxy := redistest.StartProxy(t, primary)
	s := open(t, proxy.URL(), t.TempDir(), storetest.Config(), generous)
	clicks := 0
	for range 5 {
		s.add(t, click(fmt.Sprint("before", clicks), "u", "x"))
		clicks++
		s.waitFlushed(t)
		waitReplicated(t, primary, next)
		next.Do("REPLICAOF", "NO", "ONE")
		s.add(t, click(fmt.Sprint("lost", clicks), "u", "x"))
		clicks++
		waitClicks(t, s, "x", clicks)
		proxy.SwitchTo(next)
		waitClicks(t, s, "x", clicks)
		primary.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(next.Port))
		primary, next = next, primary
	}
}

// waitReplicated waits until a server has all that its primary has written.
func waitReplicated(t *testing.T, primary, replica *redistest.Server) {
	t.Helper()
	eventually(t, "the replica is up to date", func() bool {
		return primary.Info("replication", "connected_slaves") == 1 &&
			strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up") &&
			primary.Info("replication", "master_repl_offset") ==
				replica.Info("replication", "master_repl_offset")
	})
}

// An event that was sent to two replicas counts once, also when both apply their whole logs again
// after the claim has expired, and after a restart.
func TestRepeatsAreKnownForGood(t *testing.T) {
	server := redistest.Start(t)
	r := openReplicas(t, server.URL(), 2)
	for _, s := range r {
		s.add(t, click("both", "u", "x"))
		s.waitFlushed(t)
	}
	// A crash while the file was written leaves a part of a row.
	name := filepath.Join(r[1].dir, "repeats")
	torn, err := os.ReadFile(name)
	if err != nil || len(torn) == 0 {
		t.Fatalf("the file of repeats: %d bytes, %v", len(torn), err)
	}
	if err := os.WriteFile(name, append(torn, "torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	r[0].add(t, click("other", "u", "x"))
	r[1].add(t, click("other", "u", "x"))
	for range 2 {
		for _, key := range keysOf(t, server) {
			if strings.Contains(key, "}d:") || strings.Contains(key, "}p:") {
				server.Do("DEL", key)
			}
		}
		for _, s := range r {
			s.close(t)
			s.reopen(t)
			s.waitFlushed(t)
		}
		for _, s := range r {
			waitClicks(t, s, "x", 2)
			if n := len(s.read(t, query(t, "u", []string{"x"})).Recent); n != 2 {
				t.Errorf("%d clicks in the history, want 2", n)
			}
		}
	}
}

// A value remembers what it includes of many replicas: when all of them apply their logs again,
// nothing counts twice.
func TestManyReplicas(t *testing.T) {
	const n = 70
	server := redistest.Start(t)
	var all []*testStore
	for i := range n {
		s := open(t, server.URL(), t.TempDir(), storetest.Config(), generous)
		s.add(t, click(fmt.Sprint("e", i), "u", "x"))
		s.waitFlushed(t)
		all = append(all, s)
		s.close(t)
	}
	for _, key := range keysOf(t, server) {
		if strings.Contains(key, "}p:") {
			server.Do("DEL", key)
		}
	}
	for _, s := range all {
		s.reopen(t)
		s.waitFlushed(t)
	}
	waitClicks(t, all[0], "x", n)
}

// backUpLog copies the log. restore replaces the folder of the closed store by the copy alone.
func (s *testStore) backUpLog(t *testing.T) (restore func()) {
	t.Helper()
	backup := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(backup, os.DirFS(ingest.LogDir(s.dir))); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		entries, err := os.ReadDir(s.dir)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
		if err = errors.Join(err, os.CopyFS(ingest.LogDir(s.dir), os.DirFS(backup))); err != nil {
			t.Fatal(err)
		}
	}
}

// A log that was put back from an older backup gives its new records sequences that Redis has not
// seen. They count.
func TestLogOlderThanRedis(t *testing.T) {
	s := openReplicas(t, redistest.Start(t).URL(), 1)[0]
	for i := range 5 {
		s.add(t, click(fmt.Sprint("before", i), "u", "x"))
	}
	restore := s.backUpLog(t)
	for i := range 5 {
		s.add(t, click(fmt.Sprint("after", i), "u", "x"))
	}
	s.waitFlushed(t)
	s.close(t)
	restore()
	s.reopen(t)
	for i := range 3 {
		s.add(t, click(fmt.Sprint("new", i), "u", "x"))
	}
	waitClicks(t, s, "x", 13)
}

// If Redis does not answer when a replica opens an older copy of its log, the replica says so
// later, until it is restarted.
func TestOlderLogIsReported(t *testing.T) {
	server := redistest.Start(t)
	s := openReplicas(t, server.URL(), 1)[0]
	s.add(t, click("before", "u", "x"))
	restore := s.backUpLog(t)
	s.add(t, click("after", "u", "x"))
	s.waitFlushed(t)
	s.close(t)
	restore()
	server.Pause()
	s.reopen(t)
	server.Resume()
	eventually(t, "the older log is reported", func() bool { return s.Stats().OlderLog })
	s.close(t)
	s.reopen(t)
	s.add(t, click("new", "u", "x"))
	s.waitFlushed(t)
	if s.Stats().OlderLog {
		t.Error("an older log is reported although new records have later numbers")
	}
}

// Events of different content that two replicas took under one id are counted, and repeats are not.
func TestIDConflictsOfReplicas(t *testing.T) {
	r := openReplicas(t, redistest.Start(t).URL(), 2)
	r[0].add(t, click("same", "u", "x"), click("other", "u", "x"))
	r[0].waitFlushed(t)
	r[1].add(t, click("same", "u", "x"), click("other", "u", "y"))
	r[1].waitFlushed(t)
	if n := r[1].Stats().IDConflicts; n != 1 {
		t.Errorf("%d conflicts, want 1", n)
	}
	if n := r[0].Stats().IDConflicts; n != 0 {
		t.Errorf("%d conflicts at the first replica", n)
	}
	waitClicks(t, r[1], "x", 2)
}

// A claim of an event that something else overwrote with another type is none.
func TestClaimOfAnotherType(t *testing.T) {
	server := redistest.Start(t)
	a := openReplicas(t, server.URL(), 1)[0]
	a.add(t, click("e", "u", "x"))
	a.waitFlushed(t)
	var claim string
	for _, key := range keysOf(t, server) {
		if strings.Contains(key, "}d:") {
			claim = key
		}
	}
	server.Do("FLUSHALL")
	server.Do("LPUSH", claim, "x")
	waitClicks(t, a, "x", 1)
}

// Slots move between the nodes of a cluster while replicas write and read. Commands meet ASK and
// TRYAGAIN; every event counts once.
func TestResharding(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 0)
	var replicas []*testStore
	for range 2 {
		s := open(t, cluster.URL(), t.TempDir(), storetest.Config(), redis.Options{
			ReadTimeout: time.Minute,
		})
		s.waitFlushed(t)
		replicas = append(replicas, s)
	}
	ids := []string{"x", "y", "z"}
	slots := map[int]bool{}
	for b := range 256 {
		slots[cluster.KeySlot(fmt.Sprintf("{%02x}", b))] = true
	}
	var clicks [2]int
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w, s := range replicas {
		writers.Go(func() {
			for ; ; clicks[w]++ {
				select {
				case <-stop:
					return
				default:
				}
				s.add(t, click(fmt.Sprint(w, "-", clicks[w]), "u", ids[clicks[w]%3]))
				_, _ = s.Read(t.Context(), query(t, "u", ids)) // may be refused while a key moves
			}
		})
	}
	first, second := cluster.Nodes[0], cluster.Nodes[1]
	moved := 0
	for slot := range slots {
		if slot < 16384/3 {
			cluster.MoveSlot(slot, first, second)
			moved++
		}
	}
	close(stop)
	writers.Wait()
	for _, s := range replicas {
		s.waitFlushed(t)
	}
	for i, id := range ids {
		n := 0
		for _, c := range clicks {
			n += (c + 2 - i) / 3
		}
		waitClicks(t, replicas[0], id, n)
	}
	if moved == 0 {
		t.Error("no slot was moved")
	}
}
