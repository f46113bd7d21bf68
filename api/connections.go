package api

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// defaultMaxConnections is how many connections are open at once if Options does not say. One takes
// about 20 KiB.
const defaultMaxConnections = 4096

// connections bounds the open connections. If there are too many, the one that has been without a
// request for longest makes room for a new one. If all have one, the new one is closed.
type connections struct {
	limit   int
	metrics *metrics

	mu      sync.Mutex
	open    map[net.Conn]*list.Element // its element in waiting, or nil while it has a request
	waiting *list.List                 // connections without a request, the oldest first
}

func newConnections(limit int, m *metrics) *connections {
	return &connections{
		limit: limit, metrics: m, open: map[net.Conn]*list.Element{}, waiting: list.New(),
	}
}

// limitedListener makes the connections of a listener count.
type limitedListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &clientConn{Conn: conn, accepted: time.Now()}
		if l.connections.add(c) {
			return c, nil
		}
		_ = conn.Close() // nothing was sent yet, so nothing is lost
	}
}

// add counts a new connection, and reports whether it may stay.
func (cs *connections) add(c net.Conn) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.open) >= cs.limit {
		oldest := cs.waiting.Front()
		if oldest == nil {
			cs.metrics.refusedConnections.Inc()
			return false
		}
		cs.metrics.evictedConnections.Inc()
		conn := oldest.Value.(net.Conn)
		cs.drop(conn)
		_ = conn.Close() // its goroutine ends, and there is nobody to tell
	}
	cs.open[c] = cs.waiting.PushBack(c)
	cs.metrics.connections.Set(float64(len(cs.open)))
	return true
}

// drop forgets a connection. Callers hold mu.
func (cs *connections) drop(c net.Conn) {
	if e := cs.open[c]; e != nil {
		cs.waiting.Remove(e)
	}
	delete(cs.open, c)
	cs.metrics.connections.Set(float64(len(cs.open)))
}

// refused notes that the request of a connection is refused, and that the server only drops what is
// left of its body. The connection then makes room for a new one, as one between two requests does.
// Other values than connections of limitedListener are ignored.
func (cs *connections) refused(c any) {
	conn, ok := c.(*clientConn)
	if !ok {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if e, open := cs.open[conn]; open && e == nil {
		cs.open[conn] = cs.waiting.PushBack(net.Conn(conn))
	}
}

// connectionKey is the key of a request's net.Conn in its context.
type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// changed follows the state of a connection; http.Server calls it. A connection whose client has
// sent a part of the headers is without a request.
func (cs *connections) changed(c net.Conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e, open := cs.open[c]
	switch {
	case !open:
	case state == http.StateActive && e != nil:
		cs.waiting.Remove(e)
		cs.open[c] = nil
	case state == http.StateIdle && e == nil:
		cs.open[c] = cs.waiting.PushBack(c)
	case state == http.StateClosed || state == http.StateHijacked:
		cs.drop(c)
	}
}

// closeUnused closes the connections that have sent nothing. A server that shuts down would wait
// for them.
func (cs *connections) closeUnused() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for conn := range cs.open {
		if c, ok := conn.(*clientConn); ok && !c.started.Load() {
			_ = c.Close()
		}
	}
}

// clientConn is a connection whose client may take idleTimeout until its first request, as between
// two requests. From the first byte on, headerTimeout holds. http.Server alone would apply
// headerTimeout at once, and so close connections that pools and browsers open ahead.
type clientConn struct {
	net.Conn
	accepted time.Time
	started  atomic.Bool // a byte has arrived
}

// CloseWrite ends the answer and leaves the other direction open. http.Server calls it before it
// closes a connection whose client still sends, so that the client reads the answer.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetReadDeadline implements net.Conn.
func (c *clientConn) SetReadDeadline(t time.Time) error {
	if !c.started.Load() {
		t = c.accepted.Add(idleTimeout)
	}
	return c.Conn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.started.CompareAndSwap(false, true) {
		_ = c.Conn.SetReadDeadline(time.Now().Add(headerTimeout)) // it fails if it is closed
	}
	return n, err
}
