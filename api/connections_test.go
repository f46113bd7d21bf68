package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relish/api"
	"relish/ranker"
)

// post returns a request of a ranking as it is sent.
func post(path, body string, headers ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n%s\r\n%s", path, len(body), strings.Join(headers, ""), body)
}

// ask sends a request and returns the status of its answer.
func ask(t *testing.T, conn net.Conn, request string) string {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Error(err)
		return ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.Status
}

// isClosed reports whether the server has closed a connection.
func isClosed(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	_ = conn.SetReadDeadline(time.Time{})
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

// A connection that is opened ahead may stay silent as long as one between two requests. A client
// that has begun a request has two seconds for its headers.
func TestConnectionsOpenedAhead(t *testing.T) {
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		ahead, silent, slow := l.dial(), l.dial(), l.dial()
		defer ahead.Close()
		defer slow.Close()
		fmt.Fprint(slow, "POST /recommend HTTP/1.1\r\nHost:")
		time.Sleep(3 * time.Second)
		if !isClosed(slow) {
			t.Error("a client that sends its headers slowly is waited for")
		}
		time.Sleep(100 * time.Second)
		for range 2 {
			if got := ask(t, ahead, post("/recommend", ranking)); got != "200 OK" {
				t.Errorf("a connection opened 103 s before its first request got %q", got)
			}
			time.Sleep(10 * time.Second)
		}
		if !isClosed(silent) {
			t.Error("a connection is open 123 s without a request")
		}
	}, func(t *testing.T) *service { return start(t, nil) })
}

// A server that drains does not wait for connections that have sent nothing.
func TestDrainClosesUnusedConnections(t *testing.T) {
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		conn := l.dial()
		defer conn.Close()
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	}, func(t *testing.T) *service { return start(t, nil) })
}

// The number of connections is bounded. The one without a request for longest makes room.
func TestConnectionsAreBounded(t *testing.T) {
	entered, hold := make(chan struct{}, 3), make(chan struct{})
	var s *service
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		oldest, used, newest := l.dial(), l.dial(), l.dial()
		synctest.Wait()
		done := make(chan string, 3)
		request := func(conn net.Conn) { done <- ask(t, conn, post("/recommend", ranking)) }
		go request(used)
		<-entered
		fourth := l.dial()
		synctest.Wait()
		if !isClosed(oldest) || isClosed(newest) || s.metric(t, "relish_connections") != 3 ||
			s.metric(t, "relish_connections_evicted_total") != 1 {
			t.Error("the fourth connection did not take the place of the oldest unused one")
		}
		for _, c := range []net.Conn{newest, fourth} {
			go request(c)
			<-entered
		}
		fifth := l.dial()
		synctest.Wait()
		if !isClosed(fifth) || s.metric(t, "relish_connections_refused_total") != 1 {
			t.Error("a connection was accepted although all others have a request")
		}
		close(hold)
		for range 3 {
			if got := <-done; got != "200 OK" {
				t.Errorf("a request under way got %q", got)
			}
		}
		for _, c := range []net.Conn{oldest, used, newest, fourth, fifth} {
			c.Close()
		}
	}, func(t *testing.T) *service {
		hold = make(chan struct{})
		s = start(t, func(o *api.Options) {
			o.MaxConnections = 3
			o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
				entered <- struct{}{}
				<-hold
				return &ranker.Response{}, nil
			})
		})
		return s
	})
}

// Clients that are refused and do not send their bodies keep no other client out.
func TestRefusedClientsHoldNoConnections(t *testing.T) {
	var s *service
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		for _, size := range []int{1000, 7 << 20} {
			var holding []net.Conn
			for range 4 {
				conn := l.dial()
				defer conn.Close()
				request := post("/recommend", strings.Repeat("x", size))
				if _, err := io.WriteString(conn, request[:len(request)-size+1]); err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }() // the answer
				synctest.Wait()
				holding = append(holding, conn)
			}
			conn := l.dial()
			got := ask(t, conn, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
			if got != "200 OK" {
				t.Errorf("bodies of %d bytes: the next client got %q", size, got)
			}
			conn.Close()
			for _, conn := range holding {
				conn.Close()
			}
			synctest.Wait()
		}
		if n := s.metric(t, "relish_connections_refused_total"); n != 0 {
			t.Errorf("%g connections were refused", n)
		}
	}, func(t *testing.T) *service {
		s = start(t, func(o *api.Options) {
			o.MaxConnections, o.Keys = 3, []api.Key{key("k", "k", "rank")}
		})
		return s
	})
}

// The body of a refused request is not waited for either.
func TestRefusedBodyIsNotWaitedFor(t *testing.T) {
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		conn := l.dial()
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		request := post("/recommend", strings.Repeat("x", 1000))
		if _, err := io.WriteString(conn, request[:len(request)-500]); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Fatal(resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		time.Sleep(6 * time.Second)
		if !isClosed(conn) {
			t.Error("the connection waits for the rest of the body")
		}
	}, func(t *testing.T) *service {
		return start(t, func(o *api.Options) { o.Keys = []api.Key{key("k", "k", "rank")} })
	})
}
