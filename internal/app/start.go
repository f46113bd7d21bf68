package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"relish/api"
)

// startState says what the service does while it starts. It is safe for concurrent use.
type startState struct{ text atomic.Pointer[string] }

func (s *startState) set(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.text.Store(&text)
}

func (s *startState) String() string {
	if text := s.text.Load(); text != nil {
		return *text
	}
	return "opening the data folder"
}

// Serve opens the service, runs it on the listener until ctx ends, and closes it again. It answers
// from the beginning: while it opens, /health/ready says how far it is, and other requests get 503.
// It calls onReady when it can rank. It closes the listener.
func Serve(ctx context.Context, opt Options, listener net.Listener, onReady func()) error {
	state := &startState{}
	opt.address = localURL(listener.Addr())
	opt.onReplay = func(done, total uint64) error {
		state.set("reading the event log: %d of %d records", done, total)
		return ctx.Err()
	}
	a, err := openWhileStarting(ctx, opt, listener, state)
	if err != nil {
		closed := listener.Close()
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return closed // an operator ended the start
		}
		return errors.Join(err, closed)
	}
	onReady()
	err = a.Run(ctx, listener)
	return errors.Join(err, a.Close(ctx))
}

// openWhileStarting is New, while the listener answers that the service starts.
func openWhileStarting(
	ctx context.Context, opt Options, listener net.Listener, state *startState,
) (*App, error) {
	second, err := secondListener(listener)
	if err != nil {
		return nil, err
	}
	starting := api.ServeStarting(second, Revision(), state.String)
	a, err := New(ctx, opt)
	if stopErr := starting.Stop(ctx); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	if err != nil && a != nil {
		return nil, errors.Join(err, a.Close(ctx))
	}
	return a, err
}

// secondListener returns a listener on the same socket, which can be closed by itself. A connection
// that nobody has accepted then waits for the first listener.
func secondListener(listener net.Listener) (net.Listener, error) {
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("cannot serve on a %T, only on a TCP listener", listener)
	}
	file, err := tcp.File()
	if err != nil {
		return nil, err
	}
	second, err := net.FileListener(file)
	return second, errors.Join(err, file.Close())
}
