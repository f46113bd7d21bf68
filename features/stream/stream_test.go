package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"relish/features"
	"relish/features/embedded"
	"relish/features/stream"
	"relish/internal/redisconn"
	"relish/internal/redistest"
	"relish/ranker"
)

// The client looks once a second whether it may dial again, until its pool is closed; it may sleep at the end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const key = "shop:events"

// world is a Redis with a stream, and an embedded store.
type world struct {
	t      *testing.T
	server *redistest.Server
	conn   *redisconn.Conn
	store  *embedded.Store
	log    bytes.Buffer
	mu     sync.Mutex // guards log
}

// Write takes a log line.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, server: redistest.Start(t)}
	var err error
	if w.conn, err = redisconn.Open(w.server.URL()); err != nil {
		t.Fatal(err)
	}
	if w.store, err = embedded.Open(t.TempDir(), features.DefaultConfig(), embedded.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.store.Close(), w.conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) consumer(name string, store stream.Store, once bool) *stream.Consumer {
	return stream.New(w.conn, store, stream.Options{
		Stream: key, Group: "relish", Consumer: name, Batch: 10, ClaimAfter: 50 * time.Millisecond, Once: once, Log: slog.New(slog.NewTextHandler(w, nil)),
	})
}

func (w *world) send(fields ...string) {
	w.t.Helper()
	if err := w.conn.XAdd(w.t.Context(), &redis.XAddArgs{Stream: key, Values: fields}).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) click(id string) {
	w.t.Helper()
	w.send(stream.EventField, fmt.Sprintf(`{"type":"interaction","id":%q,"user":"u","item":"i","action":"click"}`, id))
}

func (w *world) drain(name string) stream.Counts {
	w.t.Helper()
	c := w.consumer(name, w.store, true)
	if err := c.Run(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return c.Counts()
}

func (w *world) pending() int64 {
	w.t.Helper()
	p, err := w.conn.XPending(w.t.Context(), key, "relish").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Count
}

// Events come in once whatever is sent twice; what is no event is counted, named and done with, and holds nobody up.
func TestIngest(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.click(fmt.Sprint("e", i))
	}
	w.click("e3")
	w.send(stream.EventField, `{"event":"interaction","id":"m1","timestamp":"1700000000000","user":"u","item":"i","type":"click"}`) // Metarank's
	for _, bad := range []string{`{`, `[]`, `"x"`, `{"type":"nonsense","id":"x"}`, `{"type":"interaction","id":"x","user":"","item":"i","action":"click"}`,
		`{"type":"interaction","id":"secret-id","user":"secret-user","item":"i","action":"click","time":"2999-01-01T00:00:00Z"}`, "\xff", ""} {
		w.send(stream.EventField, bad)
	}
	w.send("other", "field")
	w.click("last")
	if n := w.drain("a"); n != (stream.Counts{Accepted: 27, Duplicates: 1, Rejected: 9}) {
		t.Errorf("%+v", n)
	}
	if n := w.pending(); n != 0 {
		t.Errorf("%d messages are pending", n)
	}
	log := w.logged()
	for _, says := range []string{"/type", "/user", "/time", "missing_field", "malformed"} {
		if !strings.Contains(log, says) {
			t.Errorf("the log does not say %s:\n%s", says, log)
		}
	}
	if strings.Contains(log, "secret") {
		t.Errorf("the log quotes an event:\n%s", log)
	}
	if n := w.drain("a"); n != (stream.Counts{}) {
		t.Errorf("afterwards: %+v", n)
	}
}

// dying is a store whose process dies once its events are durable, before anything is acknowledged.
type dying struct {
	stream.Store
	die context.CancelFunc
}

var errDied = errors.New("died")

// Append implements stream.Store.
func (d dying) Append(ctx context.Context, evs []ranker.Event) ([]ranker.EventOutcome, error) {
	if _, err := d.Store.Append(ctx, evs); err != nil {
		return nil, err
	}
	d.die()
	return nil, errDied
}

// What a consumer had begun when it died, it ends when it is back; or another one does. No event is lost or counts
// twice.
func TestDeath(t *testing.T) {
	for name, heir := range map[string]string{"itself": "a", "another": "b"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i := range 25 {
				w.click(fmt.Sprint("e", i))
			}
			for range 2 {
				ctx, die := context.WithCancel(t.Context())
				if err := w.consumer("a", dying{w.store, die}, false).Run(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if w.pending() == 0 {
				t.Fatal("nothing was pending")
			}
			var sum stream.Counts
			for deadline := time.Now().Add(time.Minute); sum.Accepted+sum.Duplicates < 25 && time.Now().Before(deadline); {
				n := w.drain(heir)
				sum.Accepted, sum.Duplicates, sum.Claimed = sum.Accepted+n.Accepted, sum.Duplicates+n.Duplicates, sum.Claimed+n.Claimed
			}
			if sum.Accepted != 15 || sum.Duplicates != 10 || w.pending() != 0 || (sum.Claimed > 0) != (heir == "b") {
				t.Errorf("%+v, %d pending", sum, w.pending())
			}
			if seq := w.store.LastSeq(); seq != 25 {
				t.Errorf("%d records in the log", seq)
			}
		})
	}
}

// A message that was trimmed while it was pending is counted as lost, and done with.
func TestTrimmed(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.click(fmt.Sprint("e", i))
	}
	ctx, die := context.WithCancel(t.Context())
	refuse := refusing{die}
	if err := w.consumer("a", refuse, false).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.XTrimMaxLen(t.Context(), key, 2).Err(); err != nil {
		t.Fatal(err)
	}
	if n := w.drain("a"); n.Accepted != 2 || n.Rejected != 3 || w.pending() != 0 {
		t.Errorf("%+v, %d pending", n, w.pending())
	}
	if !strings.Contains(w.logged(), "MAXLEN") {
		t.Errorf("the log does not say what to do:\n%s", w.logged())
	}
}

// refusing is a store that takes nothing.
type refusing struct{ then context.CancelFunc }

// Append implements stream.Store.
func (r refusing) Append(context.Context, []ranker.Event) ([]ranker.EventOutcome, error) {
	r.then()
	return nil, ranker.ErrLogUnavailable
}

// A Redis that dies and comes back empty, and a log that is full for a while, stop nothing for good.
func TestOutages(t *testing.T) {
	w := newWorld(t)
	full := &sometimes{Store: w.store, fails: 2}
	c := w.consumer("a", full, false)
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer run.Wait()
	defer stop()
	accepted := func(n int64) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); c.Counts().Accepted < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want %d accepted\n%s", c.Counts(), n, w.logged())
			}
		}
	}
	w.click("e1")
	accepted(1)
	w.server.Kill()
	w.server.Start()
	w.click("e2")
	accepted(2)
	if n := strings.Count(w.logged(), "stands still"); n == 0 || n > 4 {
		t.Errorf("%d lines about standing still:\n%s", n, w.logged())
	}
}

// sometimes is a store that is full at first.
type sometimes struct {
	stream.Store
	fails int
}

// Append implements stream.Store.
func (s *sometimes) Append(ctx context.Context, evs []ranker.Event) ([]ranker.EventOutcome, error) {
	if s.fails--; s.fails >= 0 {
		return nil, ranker.ErrLogFull
	}
	return s.Store.Append(ctx, evs)
}

// Two consumers share a stream's messages.
func TestShared(t *testing.T) {
	w := newWorld(t)
	for i := range 200 {
		w.click(fmt.Sprint("e", i))
	}
	a, b := w.consumer("a", w.store, true), w.consumer("b", w.store, true)
	var run sync.WaitGroup
	for _, c := range []*stream.Consumer{a, b} {
		run.Go(func() {
			if err := c.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	run.Wait()
	if n := a.Counts().Accepted + b.Counts().Accepted; n != 200 || w.store.LastSeq() != 200 {
		t.Errorf("%+v and %+v of 200", a.Counts(), b.Counts())
	}
	// Who is to end when nothing is left does not wait for a Redis that is away.
	w.server.Kill()
	if err := w.consumer("c", w.store, true).Run(t.Context()); err == nil {
		t.Error("no error without Redis")
	}
}
