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

// After failed dials the client retries once a second until its pool is closed, so that goroutine
// may still be asleep at the end.
func TestMain(m *testing.M) {
	const redial = "github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(redial))
}

const key = "shop:events"

// fixture is a Redis server with a stream, an embedded store, and a log that can be read.
type fixture struct {
	t      *testing.T
	server *redistest.Server
	conn   *redisconn.Conn
	store  *embedded.Store
	mu     sync.Mutex // guards log
	log    bytes.Buffer
}

// Write takes a log line.
func (f *fixture) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

func (f *fixture) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, server: redistest.Start(t)}
	var err error
	if f.conn, err = redisconn.Open(f.server.URL()); err != nil {
		t.Fatal(err)
	}
	f.store, err = embedded.Open(t.TempDir(), features.DefaultConfig(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(f.store.Close(), f.conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) consumer(name string, store stream.Store, once bool) *stream.Consumer {
	return stream.New(f.conn, store, stream.Options{
		Stream: key, Group: "relish", Consumer: name, Batch: 10, ClaimAfter: 50 * time.Millisecond,
		Once: once, Log: slog.New(slog.NewTextHandler(f, nil)),
	})
}

// send adds a message to the stream.
func (f *fixture) send(fields ...string) {
	f.t.Helper()
	message := &redis.XAddArgs{Stream: key, Values: fields}
	if err := f.conn.XAdd(f.t.Context(), message).Err(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) sendClick(id string) {
	f.t.Helper()
	f.send(stream.EventField, fmt.Sprintf(
		`{"type":"interaction","id":%q,"user":"u","item":"i","action":"click"}`, id))
}

// drain has a consumer ingest everything that it may, and returns its counts.
func (f *fixture) drain(name string) stream.Counts {
	f.t.Helper()
	c := f.consumer(name, f.store, true)
	if err := c.Run(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return c.Counts()
}

// pending returns how many messages of the group are read and not acknowledged.
func (f *fixture) pending() int64 {
	f.t.Helper()
	p, err := f.conn.XPending(f.t.Context(), key, "relish").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	return p.Count
}

// An event counts once even if it is sent twice. A message without a valid event is counted,
// logged and acknowledged, and does not hold up the others.
func TestIngest(t *testing.T) {
	f := newFixture(t)
	for i := range 25 {
		f.sendClick(fmt.Sprint("e", i))
	}
	f.sendClick("e3")
	f.send(stream.EventField, `{"event":"interaction","id":"metarank-1",`+
		`"timestamp":"1700000000000","user":"u","item":"i","type":"click"}`)
	for _, invalid := range []string{
		`{`, `[]`, `"x"`, "\xff", "",
		`{"type":"nonsense","id":"x"}`,
		`{"type":"interaction","id":"x","user":"","item":"i","action":"click"}`,
		`{"type":"interaction","id":"secret-id","user":"secret-user","item":"i","action":"click",` +
			`"time":"2999-01-01T00:00:00Z"}`,
	} {
		f.send(stream.EventField, invalid)
	}
	f.send("other", "field")
	f.sendClick("last")
	if n := f.drain("a"); n != (stream.Counts{Accepted: 27, Duplicates: 1, Rejected: 9}) {
		t.Errorf("counts %+v", n)
	}
	if n := f.pending(); n != 0 {
		t.Errorf("%d messages are pending", n)
	}
	log := f.logged()
	for _, want := range []string{"/type", "/user", "/time", "missing_field", "malformed"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not contain %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, "secret") {
		t.Errorf("the log quotes an event:\n%s", log)
	}
	if n := f.drain("a"); n != (stream.Counts{}) {
		t.Errorf("a second run counts %+v, want nothing", n)
	}
}

// crashingStore cancels the consumer once its events are durable, before they are acknowledged.
type crashingStore struct {
	stream.Store
	crash context.CancelFunc
}

var errCrashed = errors.New("crashed")

// Append implements stream.Store.
func (s crashingStore) Append(
	ctx context.Context, evs []ranker.Event,
) ([]ranker.EventOutcome, error) {
	if _, err := s.Store.Append(ctx, evs); err != nil {
		return nil, err
	}
	s.crash()
	return nil, errCrashed
}

// What a consumer had read when it crashed is ingested after its restart, or by another consumer.
// No event is lost, and none counts twice.
func TestCrash(t *testing.T) {
	for name, next := range map[string]string{"same consumer": "a", "another consumer": "b"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for i := range 25 {
				f.sendClick(fmt.Sprint("e", i))
			}
			for range 2 {
				ctx, crash := context.WithCancel(t.Context())
				err := f.consumer("a", crashingStore{f.store, crash}, false).Run(ctx)
				if err != nil {
					t.Fatal(err)
				}
			}
			if f.pending() == 0 {
				t.Fatal("nothing is pending after the crashes")
			}
			var sum stream.Counts
			deadline := time.Now().Add(time.Minute)
			for sum.Accepted+sum.Duplicates < 25 && time.Now().Before(deadline) {
				n := f.drain(next)
				sum.Accepted += n.Accepted
				sum.Duplicates += n.Duplicates
				sum.Claimed += n.Claimed
			}
			if sum.Accepted != 15 || sum.Duplicates != 10 || f.pending() != 0 {
				t.Errorf("counts %+v, %d pending; want 15 accepted, 10 duplicates",
					sum, f.pending())
			}
			if claimed := sum.Claimed > 0; claimed != (next == "b") {
				t.Errorf("%d messages were claimed by consumer %s", sum.Claimed, next)
			}
			if seq := f.store.LastSeq(); seq != 25 {
				t.Errorf("%d records in the log, want 25", seq)
			}
		})
	}
}

// refusingStore accepts nothing, and cancels the consumer.
type refusingStore struct{ cancel context.CancelFunc }

// Append implements stream.Store.
func (s refusingStore) Append(context.Context, []ranker.Event) ([]ranker.EventOutcome, error) {
	s.cancel()
	return nil, ranker.ErrLogUnavailable
}

// A message that was trimmed from the stream while it was pending counts as rejected.
func TestTrimmed(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.sendClick(fmt.Sprint("e", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := f.consumer("a", refusingStore{cancel}, false).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := f.conn.XTrimMaxLen(t.Context(), key, 2).Err(); err != nil {
		t.Fatal(err)
	}
	if n := f.drain("a"); n.Accepted != 2 || n.Rejected != 3 || f.pending() != 0 {
		t.Errorf("counts %+v, %d pending; want 2 accepted, 3 rejected", n, f.pending())
	}
	if !strings.Contains(f.logged(), "XADD MAXLEN") {
		t.Errorf("the log does not say what to do:\n%s", f.logged())
	}
}

// fullStore is full for the first appends.
type fullStore struct {
	stream.Store
	failures int
}

// Append implements stream.Store.
func (s *fullStore) Append(ctx context.Context, evs []ranker.Event) ([]ranker.EventOutcome, error) {
	if s.failures--; s.failures >= 0 {
		return nil, ranker.ErrLogFull
	}
	return s.Store.Append(ctx, evs)
}

// The consumer goes on after the event log was full for a while, and after Redis died and came back
// empty.
func TestOutages(t *testing.T) {
	f := newFixture(t)
	c := f.consumer("a", &fullStore{Store: f.store, failures: 2}, false)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	waitAccepted := func(n int64) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for ; c.Counts().Accepted < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("counts %+v after a minute, want %d accepted\n%s",
					c.Counts(), n, f.logged())
			}
		}
	}
	f.sendClick("e1")
	waitAccepted(1)
	f.server.Kill()
	f.server.Start()
	f.sendClick("e2")
	waitAccepted(2)
	if n := strings.Count(f.logged(), "ingestion failed"); n == 0 || n > 4 {
		t.Errorf("%d log lines about failures, want one for each outage:\n%s", n, f.logged())
	}
}

// Two consumers share the messages of a stream.
func TestTwoConsumers(t *testing.T) {
	f := newFixture(t)
	for i := range 200 {
		f.sendClick(fmt.Sprint("e", i))
	}
	a, b := f.consumer("a", f.store, true), f.consumer("b", f.store, true)
	var running sync.WaitGroup
	for _, c := range []*stream.Consumer{a, b} {
		running.Go(func() {
			if err := c.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if n := a.Counts().Accepted + b.Counts().Accepted; n != 200 || f.store.LastSeq() != 200 {
		t.Errorf("%+v and %+v, want 200 accepted together", a.Counts(), b.Counts())
	}
}

// With Once, Run returns an error if Redis does not answer, instead of waiting for it.
func TestOnceWithoutRedis(t *testing.T) {
	f := newFixture(t)
	f.server.Kill()
	if err := f.consumer("a", f.store, true).Run(t.Context()); err == nil {
		t.Error("no error without Redis")
	}
}
