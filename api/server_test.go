package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"relish/api"
	"relish/ranker"
)

// A panic or an unexpected error is answered with 500, and its value is not logged.
func TestBugsAreAnswered(t *testing.T) {
	for name, r := range map[string]rankFunc{
		"panic": func(context.Context, *ranker.Request) (*ranker.Response, error) {
			panic("secret-canary")
		},
		"error": func(context.Context, *ranker.Request) (*ranker.Response, error) {
			return nil, errors.New("an error that is not in the table")
		},
	} {
		s := start(t, func(o *api.Options) { o.Ranker = r })
		wantError(t, s.call("POST", "/recommend", ranking), 500, "internal", "")
		logs := s.logs.String()
		if !strings.Contains(logs, "request_id") || strings.Contains(logs, "secret-canary") {
			t.Errorf("%s: logs %s", name, logs)
		}
	}
}

func TestPages(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"/", "/docs"} {
		w := s.call("GET", path, "")
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || !strings.Contains(w.Body.String(), "<html") ||
			!strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestReadiness(t *testing.T) {
	checks := []api.ReadinessCheck{{Name: "store", OK: true}}
	s := start(t, func(o *api.Options) {
		o.Readiness = func() []api.ReadinessCheck { return slices.Clone(checks) }
	})
	if w := s.call("GET", "/health/ready", ""); w.Code != 200 {
		t.Error(w.Body)
	}
	checks[0] = api.ReadinessCheck{Name: "store", Detail: "the disk is gone"}
	w := s.call("GET", "/health/ready", "")
	if w.Code != 503 || !strings.Contains(w.Body.String(), "the disk is gone") {
		t.Error(w.Code, w.Body)
	}
	if w := s.call("GET", "/health/live", ""); w.Code != 200 {
		t.Error(w.Body)
	}
}

// listen serves on a real socket. drain ends it and returns Serve's error.
func listen(t *testing.T, s *service) (addr string, drain func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	drain = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = drain() })
	return ln.Addr().String(), drain
}

// A request under way when the server drains still gets its answer.
func TestDrainFinishesRequests(t *testing.T) {
	entered, hold := make(chan struct{}), make(chan struct{})
	s := start(t, func(o *api.Options) {
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			close(entered)
			<-hold
			return &ranker.Response{RequestID: "late"}, nil
		})
	})
	addr, drain := listen(t, s)
	got := make(chan string)
	go func() {
		body := strings.NewReader(ranking)
		resp, err := http.Post("http://"+addr+"/recommend", "application/json", body)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		got <- resp.Status
	}()
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- drain() }()
	for s.call("GET", "/health/ready", "").Code != 503 { // until Serve begins to drain
		time.Sleep(time.Millisecond)
	}
	close(hold)
	if status := <-got; status != "200 OK" {
		t.Errorf("the request under way got %s", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A body that does not arrive in time is answered with 408, even if the client never gives up.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	addr, _ := listen(t, s)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /recommend HTTP/1.1\r\nHost: x\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %s", resp.Status)
	}
}
