package redisconn_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/internal/redisconn"
	"relish/internal/redistest"
)

func openTracking(t *testing.T, c *redisconn.Conn) *redisconn.TrackingReader {
	t.Helper()
	r := c.NewTrackingReader()
	t.Cleanup(r.Close)
	waitConnected(t, r)
	return r
}

func waitConnected(t *testing.T, r *redisconn.TrackingReader) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !r.Connected(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no connection announces changes after a minute")
		}
	}
}

// copyOf is a copy of a value with its stamp.
type copyOf struct {
	key, data string
	stamp     redisconn.Stamp
}

func readCopy(t *testing.T, r *redisconn.TrackingReader, key string) copyOf {
	t.Helper()
	c := copyOf{key: key, stamp: r.Stamp(redisconn.TrackingSlot(key))}
	vals, err := r.Read(t.Context(), []string{key, "nothing"})
	if err != nil || len(vals) != 2 || vals[0].Unread || vals[1] != (redisconn.Value{}) {
		t.Fatalf("Read: %v, %v", vals, err)
	}
	c.data = vals[0].Data
	return c
}

func (c copyOf) isCurrent(r *redisconn.TrackingReader) bool {
	return r.Current(redisconn.TrackingSlot(c.key), c.stamp)
}

// barrier makes a round trip that reads nothing.
func barrier(t *testing.T, r *redisconn.TrackingReader) {
	t.Helper()
	if vals, err := r.Read(t.Context(), nil); err != nil || len(vals) != 0 {
		t.Fatalf("Read of nothing: %v, %v", vals, err)
	}
}

func set(t *testing.T, c *redisconn.Conn, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
}

// Whatever another connection has changed before a read is known after it, every time. Copies of
// other values stay current.
func TestTrackingReaderKnowsChanges(t *testing.T) {
	c := open(t, redistest.Start(t).URL()+"/2")
	r := openTracking(t, c)
	set(t, c, "other", "o")
	other := readCopy(t, r, "other")
	for i := range 300 {
		value := fmt.Sprint("value ", i)
		set(t, c, "k", value)
		old := readCopy(t, r, "k")
		if old.data != value {
			t.Fatalf("read %q, want %q", old.data, value)
		}
		barrier(t, r)
		if !old.isCurrent(r) {
			t.Fatal("a copy is not current although nothing has changed")
		}
		change := func() error { return c.Set(t.Context(), "k", "new", time.Hour).Err() }
		if i%2 == 1 {
			change = func() error { return c.Del(t.Context(), "k").Err() }
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		barrier(t, r)
		if old.isCurrent(r) {
			t.Fatalf("round %d: a copy is current after another connection changed the value", i)
		}
	}
	if !other.isCurrent(r) {
		t.Error("changes of one key outdated the copy of another")
	}
}

// A value that was missing is announced when it comes.
func TestTrackingReaderKnowsNewValues(t *testing.T) {
	c := open(t, redistest.Start(t).URL())
	r := openTracking(t, c)
	missing := readCopy(t, r, "k")
	set(t, c, "k", "v")
	barrier(t, r)
	if missing.data != "" || missing.isCurrent(r) {
		t.Errorf("the copy of a missing value is %q, current: %v", missing.data,
			missing.isCurrent(r))
	}
}

// No copy is current after the server was emptied, and after the connection was lost.
func TestTrackingReaderForgets(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL())
	r := openTracking(t, c)
	set(t, c, "k", "v")
	for name, lose := range map[string]func(){
		"emptied":   func() { server.Do("FLUSHALL") },
		"cut":       func() { server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") },
		"marked":    func() { r.MarkChanged("k") },
		"restarted": func() { server.Kill(); server.Start() },
		"set again": func() { server.Do("SET", "k", "v") },
	} {
		waitConnected(t, r)
		old := readCopy(t, r, "k")
		lose()
		for deadline := time.Now().Add(time.Minute); ; {
			_, err := r.Read(t.Context(), nil)
			if err == nil {
				break
			}
			if !redisconn.Lost(err) || time.Now().After(deadline) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if old.isCurrent(r) {
			t.Errorf("%s: the copy is still current", name)
		}
	}
}

// A read ends with its context while the server is frozen. After a long wait the connection is
// given up.
func TestTrackingReaderDeadline(t *testing.T) {
	server := redistest.Start(t)
	r := openTracking(t, open(t, server.URL()))
	old := readCopy(t, r, "k")
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	vals, err := r.Read(ctx, []string{"k"})
	if err == nil || redisconn.Lost(err) || len(vals) != 1 || !vals[0].Unread {
		t.Errorf("Read of a frozen server: %v, %v", vals, err)
	}
	server.Resume()
	waitConnected(t, r)
	for old.isCurrent(r) { // until the end of the connection is noticed
		time.Sleep(time.Millisecond)
	}
	waitConnected(t, r)
	if again := readCopy(t, r, "k"); !again.isCurrent(r) {
		t.Error("a new copy is not current")
	}
}

// After the client has connected to another server, Verify makes the reader connect there, too.
func TestTrackingReaderFollowsTheClient(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	c := open(t, a.URL())
	var target atomic.Pointer[redistest.Server]
	target.Store(a)
	c.UniversalClient.(*redis.Client).Options().Dialer = func(
		ctx context.Context, network, _ string,
	) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, target.Load().Addr)
	}
	r := openTracking(t, c)
	b.Do("SET", "k", "of b")
	old := readCopy(t, r, "k")
	target.Store(b)
	if err := r.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); old.isCurrent(r); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a copy of another server's value is still current after a minute")
		}
	}
	waitConnected(t, r)
	if again := readCopy(t, r, "k"); old.data != "" || again.data != "of b" {
		t.Errorf("read %q and then %q, want nothing and then the value of b", old.data, again.data)
	}
}

// A server that refuses to announce changes, and a cluster, leave the reader without a connection.
func TestTrackingReaderRefused(t *testing.T) {
	refusing := redistest.StartRefusing(t, "ERR unknown command 'HELLO'")
	for name, c := range map[string]*redisconn.Conn{
		"refusing": open(t, "redis://"+refusing.Addr),
		"cluster":  open(t, redistest.StartCluster(t, 3, 0).URL()),
	} {
		r := c.NewTrackingReader() // nil for the cluster
		vals, err := r.Read(t.Context(), []string{"k"})
		if !redisconn.Lost(err) || len(vals) != 1 || !vals[0].Unread {
			t.Errorf("%s: Read returns %v, %v", name, vals, err)
		}
		if s := r.Stamp(7); r.Connected() || r.Current(7, s) {
			t.Errorf("%s: connected, or current", name)
		}
		r.MarkChanged("k")
		if err := r.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}

// The rights that docs/operations.md names suffice, with a password, and behind a Sentinel.
func TestTrackingReaderAccess(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "shop", "on", ">word", "~shop:relish:*",
		"+@read", "+@write", "+@scripting", "+@connection", "-@dangerous", "+info")
	primary := redistest.Start(t)
	redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port))
	protected := redistest.Start(t, "--requirepass", "secret")
	for name, url := range map[string]string{
		"account":  "redis://shop:word@" + server.Addr,
		"password": "redis://:secret@" + protected.Addr,
		"sentinel": redistest.StartSentinel(t, primary),
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, url)
			r := openTracking(t, c)
			set(t, c, "shop:relish:k", "v")
			if err := r.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			stamp := r.Stamp(redisconn.TrackingSlot("shop:relish:k"))
			if vals, err := r.Read(t.Context(), []string{"shop:relish:k"}); err != nil ||
				vals[0].Data != "v" {
				t.Errorf("Read: %v, %v", vals, err)
			}
			if !r.Current(redisconn.TrackingSlot("shop:relish:k"), stamp) {
				t.Error("Verify ended the connection to the right server")
			}
		})
	}
}
