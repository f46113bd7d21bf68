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
	"relish/internal/redistest"
)

// What replicas have in Redis stays the same when it is dumped and restored, when the replicas
// fill an empty Redis from their logs, and when it is rebuilt from all logs at once. Later events
// count on top.
func TestDumpRestoreRebuild(t *testing.T) {
	cluster, server := redistest.StartCluster(t, 3, 0), redistest.Start(t)
	for name, c := range map[string]struct {
		url   string
		nodes []*redistest.Server
	}{
		"server":  {server.URL(), []*redistest.Server{server}},
		"cluster": {cluster.URL(), cluster.Nodes},
	} {
		t.Run(name, func(t *testing.T) {
			dumpRestoreRebuild(t, c.url, c.nodes)
		})
	}
}

func dumpRestoreRebuild(t *testing.T, url string, nodes []*redistest.Server) {
	evs := storetest.RandomEvents(rand.New(rand.NewPCG(9, 9)), 300)
	replicas := openReplicas(t, url, 2)
	replicas[0].add(t, slices.Clone(evs[:100])...)
	replicas[1].add(t, slices.Clone(evs[100:])...)
	schema := storetest.AllCountersSchema(t)

	// checkState waits until every replica has what all logs add up to.
	checkState := func(when string) {
		t.Helper()
		want := features.New(storetest.Config())
		for _, s := range replicas {
			replayLog(t, want, s.dir)
		}
		for i, s := range replicas {
			eventually(t, fmt.Sprintf("%s, replica %d has the state", when, i), func() bool {
				return sameState(t, schema, want, s)
			})
		}
	}
	waitFlushed := func() {
		for _, s := range replicas {
			s.waitFlushed(t)
		}
	}
	closeAll := func() {
		for _, s := range replicas {
			s.close(t) // publishes its part of the counters
		}
	}
	// reopenAndCheck opens the replicas again, checks the state, and checks it again after a click.
	reopenAndCheck := func(when string) {
		t.Helper()
		for _, s := range replicas {
			s.reopen(t)
			s.waitFlushed(t)
		}
		checkState(when)
		replicas[1].add(t, click("after "+when, "u0", "it0"))
		waitFlushed()
		checkState(when + ", after a click")
		closeAll()
	}

	waitFlushed()
	checkState("at the start")
	closeAll()
	conn := connect(t, url)
	defer conn.Close()
	dump, err := redis.Dump(t.Context(), conn, storetest.Config())
	if err != nil {
		t.Fatal(err)
	}
	snapshotDir := filepath.Join(t.TempDir(), "snapshot")
	if _, err := snapshot.Write(snapshotDir, dump); err != nil {
		t.Fatal(err)
	}
	reopenAndCheck("after a dump")

	// The snapshot lacks the click that came after it. The log has it.
	loaded, err := snapshot.Load(snapshotDir, storetest.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := redis.Restore(t.Context(), conn, loaded, nil); err != nil {
		t.Fatal(err)
	}
	reopenAndCheck("restored")

	for _, n := range nodes {
		n.Do("FLUSHALL")
	}
	reopenAndCheck("emptied")

	folders := []string{replicas[0].dir, replicas[1].dir}
	err = redis.Rebuild(t.Context(), conn, storetest.Config(), nil, folders, nil)
	if err != nil {
		t.Fatal(err)
	}
	reopenAndCheck("rebuilt from the logs")

	err = redis.Rebuild(t.Context(), conn, storetest.Config(), loaded, folders, nil)
	if err != nil {
		t.Fatal(err)
	}
	reopenAndCheck("rebuilt from the snapshot and the logs")
}

// A rebuild while another replica runs: that replica adds its own log, and what it wrote
// meanwhile. Events that it shares with a rebuilt replica count once.
func TestRebuildBesideReplica(t *testing.T) {
	server := redistest.Start(t)
	replicas := openReplicas(t, server.URL(), 2)
	evs := storetest.RandomEvents(rand.New(rand.NewPCG(4, 4)), 300)
	replicas[0].add(t, slices.Clone(evs[:200])...)
	replicas[1].add(t, slices.Clone(evs[150:])...) // a sixth is sent to both
	replicas[0].close(t)
	want := features.New(storetest.Config())
	for i := range evs {
		want.Apply(&event.Record{
			Seq: uint64(i + 1), Arrival: time.Now().UnixMilli(), Event: evs[i],
		})
	}
	conn := connect(t, server.URL())
	defer conn.Close()
	schema := storetest.AllCountersSchema(t)
	folders := []string{replicas[0].dir}
	for i := range 3 {
		err := redis.Rebuild(t.Context(), conn, storetest.Config(), nil, folders, nil)
		if err != nil {
			t.Fatal(err)
		}
		ev := click(fmt.Sprint("meanwhile", i), "u0", "it0")
		replicas[1].add(t, ev)
		want.Apply(&event.Record{
			Seq: uint64(len(evs) + i + 1), Arrival: time.Now().UnixMilli(), Event: ev,
		})
		eventually(t, "the running replica has added its log", func() bool {
			return !replicas[1].Stats().Behind && sameState(t, schema, want, replicas[1])
		})
	}
}
