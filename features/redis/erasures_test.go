package redis_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/features/redis"
	"relish/internal/redistest"
	"relish/ranker"
)

// erasableUser is an id that occurs nowhere else.
const erasableUser = "user-to-erase-4711"

// eventsOf returns events of a user as the log has them, whose ids contain the replica's number.
func eventsOf(user string, replica int) []ranker.Event {
	const at = 1_700_000_000_000
	id := func(kind string) string { return fmt.Sprint(kind, replica) }
	return []ranker.Event{
		click(id("click"), user, "x"),
		{
			Kind: ranker.EventUser, ID: id("user"), Time: at, UserID: user,
			Fields: map[string]ranker.FieldValue{"name": ranker.StringValue("of " + user)},
		},
		{
			Kind: ranker.EventImpression, ID: id("list"), Time: at, UserID: user, Session: user,
			Impression: &ranker.Impression{
				Items:   []string{"x", "y"},
				Context: map[string]ranker.FieldValue{"query": ranker.StringValue(user + "'s")},
			},
		},
		{
			Kind: ranker.EventInteraction, ID: id("session"), Time: at, UserID: "other",
			Session: user, ItemID: "x", Action: "click",
		},
		click(id("other"), "other", "y"),
	}
}

// After an erasure at one replica, no file of any replica and no value in Redis contains the user's
// id: also not of a replica that was away, and not if Redis lost everything meanwhile.
func TestErasureReachesEveryReplica(t *testing.T) {
	server := redistest.Start(t, "--rdbcompression", "no") // so that DUMP shows what there is
	r := openReplicas(t, server.URL(), 3)
	for i, s := range r {
		s.add(t, eventsOf(erasableUser, i)...)
		s.waitFlushed(t)
	}
	r[2].close(t)
	if err := r[0].EraseUser(t.Context(), erasableUser); err != nil {
		t.Fatal(err)
	}
	waitErased(t, r[:2], server)
	if pending := erasuresOf(t, r[0]); pending[r[2].Replica()].Missing != 1 {
		t.Errorf("the replica that is away: %+v", pending)
	}
	server.Do("FLUSHALL")
	r[2].reopen(t)
	waitErased(t, r, server)
	for replica, s := range erasuresOf(t, r[0]) {
		if s.Missing != 0 || s.Pending != 0 {
			t.Errorf("replica %s: %+v", replica, s)
		}
	}
	// What the user does from now on counts, at every replica, over a restart.
	r[1].add(t, click("again", erasableUser, "y"))
	r[2].close(t)
	r[2].reopen(t)
	for _, s := range r {
		s.waitFlushed(t)
		if n := len(s.read(t, query(t, erasableUser, []string{"y"})).Recent); n != 1 {
			t.Errorf("a user who came back has %d clicks, want 1", n)
		}
	}
}

// waitErased waits until the replicas have heard of the erasure, has them rewrite their logs, and
// looks for the id in all that there is.
func waitErased(t *testing.T, replicas []*testStore, server *redistest.Server) {
	t.Helper()
	for _, s := range replicas {
		eventually(t, "the replica has heard of the erasure", func() bool {
			return s.PendingErasures() > 0 || !folderContains(t, s.dir, erasableUser)
		})
		if err := s.EraseNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.waitFlushed(t)
		if folderContains(t, s.dir, erasableUser) {
			t.Error("the data folder contains the user's id")
		}
	}
	for _, key := range keysOf(t, server) {
		if strings.Contains(key, erasableUser) ||
			strings.Contains(server.Do("DUMP", key), erasableUser) {
			t.Errorf("Redis contains the user's id under %s", key)
		}
	}
	eventually(t, "every replica says that nothing is pending", func() bool {
		status := erasuresOf(t, replicas[0])
		return !slices.ContainsFunc(replicas, func(s *testStore) bool {
			mine := status[s.Replica()]
			return mine.Replica == "" || mine.Pending > 0 || mine.Missing > 0
		})
	})
}

// erasuresOf returns what ReadErasures says, by replica.
func erasuresOf(t *testing.T, s *testStore) map[string]redis.ReplicaErasures {
	t.Helper()
	list, err := redis.ReadErasures(t.Context(), s.conn)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]redis.ReplicaErasures{}
	for _, e := range list {
		out[e.Replica] = e
	}
	return out
}

// folderContains reports whether a file of a folder contains a text.
func folderContains(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || strings.Contains(string(data), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
