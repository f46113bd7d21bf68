package redisconn

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// The goroutine of a TrackingReader: it connects, and reads what the server sends.

// run connects again and again until ctx ends.
func (t *TrackingReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := reconnectEvery
		if refused := replyError(""); errors.As(t.serve(ctx), &refused) {
			pause = refusedPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// serve connects, and reads what the server sends until the connection ends.
func (t *TrackingReader) serve(ctx context.Context) error {
	opt := t.client.Options()
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := opt.Dialer(dialCtx, opt.Network, opt.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, bufferBytes)
	server, err := startTracking(conn, in, opt)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.conn, t.server = conn, server
	t.newSession()
	t.mu.Unlock()
	for err == nil {
		err = t.readReply(in)
	}
	t.mu.Lock()
	t.conn = nil // nothing is sent any more
	t.session.Store(0)
	t.mu.Unlock()
	for call := t.sent.pop(); call != nil; call = t.sent.pop() {
		call.err = connectionLost(err)
		close(call.done)
	}
	return nil
}

func (t *TrackingReader) newSession() {
	t.last++
	t.session.Store(t.last)
}

// startTracking begins a session, and returns the server's run_id.
func startTracking(conn net.Conn, in *bufio.Reader, opt *redis.Options) (server string, err error) {
	hello := []string{"3"}
	if opt.Password != "" {
		user := opt.Username
		if user == "" {
			user = "default"
		}
		hello = append(hello, "AUTH", user, opt.Password)
	}
	out := appendCommand(nil, "HELLO", hello...)
	out = appendCommand(out, "SELECT", strconv.Itoa(opt.DB))
	out = appendCommand(out, "CLIENT", "TRACKING", "ON")
	out = appendCommand(out, "INFO", "server")
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return "", err
	}
	if _, err := conn.Write(out); err != nil {
		return "", err
	}
	for range 4 {
		if server, err = readText(in); err != nil {
			return "", err
		}
	}
	return infoField(server, "run_id"), conn.SetDeadline(time.Time{})
}

// readReply reads an announcement, or the reply to the oldest call.
func (t *TrackingReader) readReply(in *bufio.Reader) error {
	h, err := readHead(in)
	if err != nil {
		return err
	}
	if h.kind == kindPush {
		return t.readPush(in, h)
	}
	call := t.sent.pop()
	if call == nil {
		return errProtocol
	}
	if err = call.readReply(in, h); err != nil {
		call.err = connectionLost(err)
	}
	close(call.done)
	return err
}

func (c *TrackedCall) readReply(in *bufio.Reader, h replyHead) error {
	switch {
	case h.kind == kindError:
		c.err = replyError(h.text)
		return nil
	case c.keys == 0:
		return skipRest(in, h)
	case h.kind != kindArray || h.n != c.keys:
		return errProtocol
	}
	c.vals = make([]Value, c.keys)
	ends := make([]int, c.keys)
	var all []byte
	for i := range ends {
		h, err := readHead(in)
		switch {
		case err != nil:
			return err
		case h.kind == kindBulk:
			if all, err = appendString(in, all, h); err != nil {
				return err
			}
		case h.kind != kindNull:
			return errProtocol
		}
		ends[i] = len(all)
	}
	text, from := string(all), 0
	for i, end := range ends {
		c.vals[i].Data = text[from:end]
		from = end
	}
	return nil
}

// readPush reads a message that is no reply.
func (t *TrackingReader) readPush(in *bufio.Reader, h replyHead) error {
	if h.n != 2 {
		return skipRest(in, h)
	}
	name, err := readText(in)
	if err != nil {
		return err
	}
	keys, err := readHead(in)
	if err != nil {
		return err
	}
	switch {
	case name != "invalidate":
		return skipRest(in, keys)
	case keys.kind == kindNull: // all keys
		t.newSession()
		return nil
	case keys.kind != kindArray:
		return errProtocol
	}
	for range keys.n {
		key, err := readText(in)
		if err != nil {
			return err
		}
		t.MarkChanged(key)
	}
	return nil
}
