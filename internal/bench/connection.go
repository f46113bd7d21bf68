package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// connection is a kept-alive HTTP/1.1 connection. It is opened when it is needed. net/http's client
// passes every exchange through two goroutines; on an idle machine that takes longer than the
// service takes to answer.
type connection struct {
	host   string
	conn   net.Conn
	reader *bufio.Reader
}

func (c *connection) disconnect() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is lost: errors of reads and writes have been returned
		c.conn = nil
	}
}

// exchange writes a request and returns the status and the body of its answer.
func (c *connection) exchange(
	ctx context.Context, request []byte,
) (status int, data []byte, err error) {
	defer func() {
		if err != nil {
			c.disconnect()
		}
	}()
	if c.conn == nil {
		d := net.Dialer{Timeout: maxLatency}
		if c.conn, err = d.DialContext(ctx, "tcp", c.host); err != nil {
			return 0, nil, err
		}
		c.reader = bufio.NewReaderSize(c.conn, 64<<10)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetDeadline(time.Now().Add(maxLatency)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if resp.Close {
		c.disconnect()
	}
	return resp.StatusCode, data, err
}
