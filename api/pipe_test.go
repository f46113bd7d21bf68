package api_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// pipeListener listens without sockets, so that a server runs on the clock of a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// dial opens a connection.
func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// served runs f in a synctest bubble, with the service that s starts. stop ends it.
func served(
	t *testing.T,
	f func(t *testing.T, l *pipeListener, stop func() error), s func(t *testing.T) *service,
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		srv := s(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- srv.Serve(ctx, l) }()
		stop := sync.OnceValue(func() error { cancel(); return <-done })
		defer func() { // also after t.Fatal
			if err := stop(); err != nil {
				t.Error(err)
			}
		}()
		f(t, l, stop)
	})
}
