package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redisconn"
	"relish/internal/redistest"
	"relish/ranker"
)

// After failed dials the client retries once a second until its pool is closed, so that goroutine
// may still be asleep at the end.
func TestMain(m *testing.M) {
	const redial = "github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(redial))
}

// generous lets a store wait for Redis as long as it takes. It is for tests of what is answered,
// which must pass on a busy machine.
var generous = redis.Options{ReadTimeout: time.Minute, ApplyWait: time.Minute}

// testStore is a store with what is needed to open it again.
type testStore struct {
	*redis.Store
	dir, url string
	cfg      features.Config
	opt      redis.Options
	conn     *redisconn.Conn
	closed   bool
}

// connect opens a connection without a time limit of its own. Only the contexts of the commands
// end a wait, so a client that ignores them waits for ever, on a fast machine as on a slow one.
func connect(t testing.TB, url string) *redisconn.Conn {
	t.Helper()
	conn, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := conn.UniversalClient.(*goredis.Client); ok {
		c.Options().ReadTimeout = time.Hour
	}
	return conn
}

func open(t testing.TB, url, dir string, cfg features.Config, opt redis.Options) *testStore {
	t.Helper()
	unlock, err := ingest.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &testStore{dir: dir, url: url, cfg: cfg, opt: opt, closed: true}
	s.reopen(t)
	t.Cleanup(func() {
		s.close(t)
		unlock()
	})
	return s
}

// reopen opens the store again after close, with a new connection.
func (s *testStore) reopen(t testing.TB) {
	t.Helper()
	conn := connect(t, s.url)
	store, err := redis.Open(s.dir, conn, s.cfg, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	s.Store, s.conn, s.closed = store, conn, false
}

func (s *testStore) close(t testing.TB) {
	t.Helper()
	if s.closed {
		return
	}
	s.closed = true
	mustEnd(t, "closing the store", func() {
		if err := errors.Join(s.Close(), s.conn.Close()); err != nil {
			t.Error(err)
		}
	})
}

// waitFlushed waits until Redis has everything that the log has.
func (s *testStore) waitFlushed(t testing.TB) {
	t.Helper()
	eventually(t, "Redis has the whole log", func() bool {
		st := s.Stats()
		return !st.Behind && st.Lag == 0
	})
}

func (s *testStore) add(t testing.TB, events ...ranker.Event) []ranker.EventOutcome {
	t.Helper()
	out, err := s.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *testStore) read(t testing.TB, q *ranker.FeatureQuery) *ranker.RequestState {
	t.Helper()
	st, err := s.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// openReplicas opens n stores on the same Redis that wait for it as long as it takes.
func openReplicas(t testing.TB, url string, n int) (out []*testStore) {
	t.Helper()
	for range n {
		s := open(t, url, t.TempDir(), storetest.Config(), generous)
		s.waitFlushed(t)
		out = append(out, s)
	}
	return out
}

// eventually waits until a condition holds. It fails the test after a minute.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this did not happen within a minute: %s", what)
		}
	}
}

// mustEnd runs a function, and fails the test if it has not ended after a minute.
func mustEnd(t testing.TB, what string, run func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run()
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatalf("still running after a minute: %s", what)
	}
}

// prefixOf returns a tenant's name for a test's folder.
func prefixOf(dir string) string {
	last := dir[max(0, len(dir)-40):]
	return strings.NewReplacer("/", "-", "{", "", "}", "").Replace(last)
}

// keysOf returns all keys of a server.
func keysOf(t testing.TB, s *redistest.Server) (keys []string) {
	t.Helper()
	reply := s.Do("EVAL", "return redis.call('KEYS', '*')", "0")
	for i, line := range strings.Split(reply, "\r\n") {
		if i > 0 && line != "" && line[0] != '$' {
			keys = append(keys, line)
		}
	}
	return keys
}

func click(id, user, item string) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventInteraction, ID: id, Time: 1_700_000_000_000, UserID: user, ItemID: item,
		Action: "click",
	}
}

func itemWithTitle(id, item, title string) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventItem, ID: id, Time: 1_700_000_000_000, ItemID: item, Title: &title,
		Replace: true,
	}
}

// addItems adds n items with content and counters, and a user "u" who has clicked all of them.
func addItems(t testing.TB, s *testStore, n int) (ids []string) {
	t.Helper()
	title := "a title of a few words"
	var evs []ranker.Event
	for i := range n {
		id := fmt.Sprint("item-", i)
		ids = append(ids, id)
		evs = append(evs,
			ranker.Event{
				Kind: ranker.EventItem, ID: "d" + id, ItemID: id, Title: &title,
				Tags: []string{fmt.Sprint("tag", i%50)}, Time: 1e12,
			},
			ranker.Event{
				Kind: ranker.EventInteraction, ID: "c" + id, UserID: "u", ItemID: id,
				Action: "click", Time: 1e12 + int64(i),
			},
			ranker.Event{
				Kind: ranker.EventImpression, ID: "s" + id, UserID: "u", Time: 1e12 + int64(i),
				Impression: &ranker.Impression{Items: []string{id}},
			})
	}
	for len(evs) > 0 {
		k := min(1000, len(evs))
		s.add(t, evs[:k]...)
		evs = evs[k:]
	}
	s.waitFlushed(t)
	return ids
}

// query asks for an item's clicks, the click rate of its tags, and the user's interactions with
// them.
func query(t testing.TB, user string, ids []string) *ranker.FeatureQuery {
	t.Helper()
	schema, err := ranker.NewSchema([]ranker.Feature{
		{Name: "clicks", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
		{
			Name:   "rate",
			Kind:   ranker.KindRate,
			Scope:  ranker.ScopeField,
			Field:  "tags",
			Action: "click",
		},
		{Name: "interacted", Kind: ranker.KindInteracted, Field: "tags"},
	})
	if err != nil {
		t.Fatal(err)
	}
	q := &ranker.FeatureQuery{User: user, Now: 1000, Schema: schema}
	for _, id := range ids {
		q.Candidates = append(q.Candidates, ranker.Candidate{ID: id})
	}
	return q
}

// replayLog applies the log of a data folder to a state.
func replayLog(t testing.TB, s *features.State, dir string) {
	t.Helper()
	for rec, err := range eventlog.Read(ingest.LogDir(dir), 1) {
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(&rec)
	}
}
