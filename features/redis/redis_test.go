package redis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/features"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redisconn"
	"relish/internal/redistest"
	"relish/ranker"
)

// The client looks once a second whether it may dial again, until its pool is closed; it may sleep at the end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patient waits for Redis as long as it takes: for tests of what is answered, on a machine with other work.
var patient = redis.Options{ReadTimeout: time.Minute, ApplyWait: time.Minute}

// opened is a store with what is needed to open it again.
type opened struct {
	*redis.Store
	dir, url string
	cfg      features.Config
	opt      redis.Options
	conn     *redisconn.Conn
	closed   bool
}

func open(t testing.TB, url, dir string, cfg features.Config, opt redis.Options) *opened {
	t.Helper()
	conn, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := ingest.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := redis.Open(dir, conn, cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{Store: s, dir: dir, url: url, conn: conn, cfg: cfg, opt: opt}
	t.Cleanup(func() {
		o.close(t)
		unlock()
	})
	return o
}

func (o *opened) close(t testing.TB) {
	t.Helper()
	if o.closed {
		return
	}
	o.closed = true
	if err := errors.Join(o.Close(), o.conn.Close()); err != nil {
		t.Error(err)
	}
}

func (o *opened) flush(t testing.TB) {
	t.Helper()
	eventually(t, "everything in Redis", func() bool { s := o.Stats(); return !s.Behind && s.Lag == 0 })
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// backend runs the conformance suite on a Redis at url; each test has keys of its own.
func backend(url string) storetest.Backend {
	start := func(t *testing.T, dir, url string, cfg features.Config) *opened {
		s := open(t, url, dir, cfg, patient)
		s.flush(t)
		return s
	}
	return storetest.Backend{
		Open: func(t *testing.T, cfg features.Config) ranker.Store {
			dir := t.TempDir()
			return start(t, dir, url+"?prefix="+prefix(dir), cfg)
		},
		Reopen: func(t *testing.T, s ranker.Store) ranker.Store {
			o := s.(*opened)
			o.close(t)
			conn, err := redisconn.Open(o.url)
			if err != nil {
				t.Fatal(err)
			}
			o.Store, err = redis.Open(o.dir, conn, o.cfg, o.opt)
			if err != nil {
				t.Fatal(err)
			}
			o.conn, o.closed = conn, false
			o.flush(t)
			return o
		},
	}
}

func TestConformance(t *testing.T) {
	t.Run("server", func(t *testing.T) { storetest.Run(t, backend(redistest.Start(t).URL())) })
	t.Run("cluster", func(t *testing.T) { storetest.Run(t, backend(redistest.StartCluster(t, 3, 0).URL())) })
}

// A user of Redis who may do no more than docs/operations.md says is enough.
func TestLeastPrivilege(t *testing.T) {
	server, cluster := redistest.Start(t), redistest.StartCluster(t, 3, 0)
	for name, c := range map[string]struct {
		url   string
		nodes []*redistest.Server
		more  string
	}{"server": {server.URL(), []*redistest.Server{server}, ""}, "cluster": {cluster.URL(), cluster.Nodes, "+cluster|slots +command"}} {
		t.Run(name, func(t *testing.T) {
			for _, n := range c.nodes {
				rule := strings.Fields("~shop:relish:* +@read +@write +@scripting +@connection -@dangerous +info " + c.more)
				n.Do(append([]string{"ACL", "SETUSER", "shop", "on", ">secret"}, rule...)...)
				n.Do("ACL", "SETUSER", "default", "off")
			}
			leastPrivilege(t, strings.Replace(c.url, "://", "://shop:secret@", 1)+"?prefix=shop")
		})
	}
}

func leastPrivilege(t *testing.T, url string) {
	s := open(t, url, t.TempDir(), features.DefaultConfig(), patient)
	s.flush(t)
	s.add(t, described("d", "x", "title"), click("e", "u", "x"))
	if st := s.read(t, query(t, "u", []string{"x"})); st.Stale || len(st.Recent) != 1 || st.Items[0] == nil {
		t.Errorf("%+v", st)
	}
	if err := s.Forget(t.Context(), "u"); err != nil {
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
			t.Errorf("%+v, %v", r, err)
		}
	}
	if err := redis.Rebuild(t.Context(), conn, s.cfg, nil, []string{s.dir}, nil); err != nil {
		t.Error(err)
	}
	if n := s.Stats().Outages; n != 0 {
		t.Errorf("%d outages", n)
	}
}

// prefix makes a tenant's name of a folder's.
func prefix(dir string) string {
	return strings.NewReplacer("/", "-", "{", "", "}", "").Replace(dir[max(0, len(dir)-40):])
}
