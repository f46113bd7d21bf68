package bench

import (
	"bufio"
	"context"
	"fmt"
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

// exchange writes a request and returns the body of its answer. It fails if the status is not 200.
func (c *connection) exchange(ctx context.Context, request []byte) (data []byte, err error) {
	defer func() {
		if err != nil {
			c.disconnect()
		}
	}()
	if c.conn == nil {
		d := net.Dialer{Timeout: maxLatency}
		if c.conn, err = d.DialContext(ctx, "tcp", c.host); err != nil {
			return nil, err
		}
		c.reader = bufio.NewReaderSize(c.conn, 64<<10)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetDeadline(time.Now().Add(maxLatency)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return data, err
}
