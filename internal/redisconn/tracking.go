package redisconn

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

// TrackingReader reads values over one connection on which the server also announces every later
// change of what was read (CLIENT TRACKING). So a caller can keep copies, and one round trip
// without any key tells which of them are as new as the server's values.
//
// The announcements and the replies share the connection, so they arrive in order: a change that
// the server made before it answered a command is known before the answer is. A copy is current
// while its Stamp is. After each Read, whatever its keys were, that holds for the time of the Read.
//
// A TrackingReader connects in the background. While it has no connection, no stamp is current and
// Read fails at once. All methods may be called concurrently, and on nil, which never connects.
type TrackingReader struct {
	client  *redis.Client
	stop    context.CancelFunc
	done    sync.WaitGroup
	last    uint64        // the newest session
	session atomic.Uint64 // of the connection; 0 while there is none
	sent    callQueue     // what waits for its reply
	changes [trackingSlots]atomic.Uint32

	mu     sync.Mutex // guards what follows, and writing to conn
	conn   net.Conn   // nil while there is none
	server string     // its run_id
	out    []byte
}

const (
	// trackingSlots is the number of counters of changes. Two keys with the same one outdate each
	// other's copies, which costs reading them again.
	trackingSlots = 1 << 16

	// maxTrackedCalls bounds the commands that wait for their replies.
	maxTrackedCalls = 1024

	// stallTimeout is the wait of one command after which the connection counts as dead. A shorter
	// one would outdate all copies of a busy machine again and again.
	stallTimeout = 100 * time.Millisecond

	// writeTimeout bounds the time that one caller may hold up others while it sends a command.
	writeTimeout = 50 * time.Millisecond

	reconnectEvery = 100 * time.Millisecond
	// refusedPause is the time until a server is asked again that refused to announce changes.
	refusedPause = 30 * time.Second
)

var (
	errConnectionLost = errors.New("redis: the connection that announces changes was lost")
	errNotConnected   = errors.New("redis: there is no connection that announces changes")
)

// Stamp says of which state of the server a copy is. The zero Stamp is never current.
type Stamp struct {
	session uint64
	changes uint32
}

// TrackedCall is a command that waits for its reply, see TrackingReader.Start.
type TrackedCall struct {
	reader *TrackingReader
	keys   int
	start  time.Time
	vals   []Value
	err    error
	done   chan struct{} // closed when vals and err are set
}

// callQueue holds the commands that wait for their replies, oldest first.
type callQueue struct {
	mu    sync.Mutex
	calls []*TrackedCall
	first int // those before it have their replies
}

// push adds a call. It returns false if too many wait already.
func (q *callQueue) push(c *TrackedCall) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == len(q.calls) {
		q.calls, q.first = q.calls[:0], 0
	}
	if len(q.calls) >= maxTrackedCalls {
		return false
	}
	q.calls = append(q.calls, c)
	return true
}

// pop removes the oldest call, and returns nil if there is none.
func (q *callQueue) pop() *TrackedCall {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == len(q.calls) {
		return nil
	}
	c := q.calls[q.first]
	q.calls[q.first] = nil
	q.first++
	return c
}

// wait returns for how long the oldest call has waited.
func (q *callQueue) wait() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == len(q.calls) {
		return 0
	}
	return time.Since(q.calls[q.first].start)
}

// NewTrackingReader starts a TrackingReader, which the caller must Close before the connection. It
// returns nil for a cluster, where each node would need a connection.
func (c *Conn) NewTrackingReader() *TrackingReader {
	client, ok := c.UniversalClient.(*redis.Client)
	if !ok {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	t := &TrackingReader{client: client, stop: stop}
	t.done.Go(func() { t.run(ctx) })
	return t
}

// Close closes the connection.
func (t *TrackingReader) Close() {
	if t == nil {
		return
	}
	t.stop()
	t.done.Wait()
}

// TrackingSlot returns the number of a key's counter of changes, for Stamp and Current.
func TrackingSlot(key string) uint32 { return uint32(xxhash.Sum64String(key) % trackingSlots) }

// Connected reports whether Read can ask the server.
func (t *TrackingReader) Connected() bool { return t != nil && t.session.Load() != 0 }

// Stamp returns the stamp for a copy of what is read next.
func (t *TrackingReader) Stamp(slot uint32) Stamp {
	if t == nil {
		return Stamp{}
	}
	return Stamp{t.session.Load(), t.changes[slot].Load()}
}

// Current reports whether no change has been announced since the stamp was taken.
func (t *TrackingReader) Current(slot uint32, s Stamp) bool {
	return s.session != 0 && s == t.Stamp(slot)
}

// MarkChanged outdates the copies of a key that the caller has changed itself. Its announcement
// comes later.
func (t *TrackingReader) MarkChanged(key string) {
	if t != nil {
		t.changes[TrackingSlot(key)].Add(1)
	}
}

// Read reads the keys, of which there may be none, in one round trip. The result is aligned with
// them. If the server gave no answer because the connection does not exist or was lost, Lost
// reports it of the error, and another connection may do better.
func (t *TrackingReader) Read(ctx context.Context, keys []string) ([]Value, error) {
	return t.Start(keys).Wait(ctx)
}

// Start sends the command of Read. The caller must call Wait, which returns the reply.
func (t *TrackingReader) Start(keys []string) *TrackedCall {
	c := &TrackedCall{reader: t, keys: len(keys), start: time.Now(), done: make(chan struct{})}
	if err := t.send(c, keys); err != nil {
		c.err = err
		close(c.done)
	}
	return c
}

// Wait returns what Read returns.
func (c *TrackedCall) Wait(ctx context.Context) ([]Value, error) {
	select {
	case <-c.done:
		if c.err != nil {
			return AllUnread(c.keys), c.err
		}
		return c.vals, nil
	case <-ctx.Done():
		c.reader.endIfStalled()
		return AllUnread(c.keys), ctx.Err()
	}
}

// Lost reports whether an error of TrackingReader.Read says nothing about the server itself.
func Lost(err error) bool {
	return errors.Is(err, errConnectionLost) || errors.Is(err, errNotConnected)
}

func (t *TrackingReader) send(call *TrackedCall, keys []string) error {
	if t == nil {
		return errNotConnected
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return errNotConnected
	}
	if !t.sent.push(call) {
		return errNotConnected
	}
	if len(keys) == 0 {
		t.out = appendCommand(t.out[:0], "PING")
	} else {
		t.out = appendCommand(t.out[:0], "MGET", keys...)
	}
	_ = t.conn.SetWriteDeadline(call.start.Add(writeTimeout)) // if it fails, so does the next call
	if _, err := t.conn.Write(t.out); err != nil {
		_ = t.conn.Close() // the reader fails all calls, this one too
	}
	return nil
}

// Verify ends the connection if it leads to another server than those of the client, as it may
// after a failover.
func (t *TrackingReader) Verify(ctx context.Context) error {
	if !t.Connected() {
		return nil
	}
	info, err := t.client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil && t.server != infoField(info, "run_id") {
		_ = t.conn.Close()
	}
	return nil
}

// endIfStalled ends the connection if the server has not answered for too long.
func (t *TrackingReader) endIfStalled() {
	if t == nil || t.sent.wait() < stallTimeout {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		_ = t.conn.Close()
	}
}
