package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/api"
	"relish/ranker"
)

// held is a service whose rankings wait until release is called.
type held struct {
	*service
	entered, hold chan struct{}
	rankings      sync.WaitGroup
}

// startHeld starts the service. In a synctest bubble, call it there.
func startHeld(t *testing.T, change func(*api.Options)) *held {
	h := &held{entered: make(chan struct{}), hold: make(chan struct{})}
	h.service = start(t, func(o *api.Options) {
		o.Ranker = rankFunc(func(context.Context, *ranker.Request) (*ranker.Response, error) {
			select {
			case h.entered <- struct{}{}:
				<-h.hold
			case <-h.hold:
			}
			return &ranker.Response{}, nil
		})
		change(o)
	})
	return h
}

// fill starts rankings, and returns when each holds its slots.
func (h *held) fill(n int, body string) {
	for range n {
		h.rankings.Go(func() { h.call("POST", "/recommend", body) })
		<-h.entered
	}
}

// release ends the rankings that wait, and lets later ones pass.
func (h *held) release() {
	close(h.hold)
	h.rankings.Wait()
}

// servedHeld runs f in a synctest bubble, with a served service whose rankings wait.
func servedHeld(
	t *testing.T, change func(*api.Options), f func(t *testing.T, l *pipeListener, h *held),
) {
	t.Helper()
	var h *held
	served(t, func(t *testing.T, l *pipeListener, stop func() error) {
		f(t, l, h)
	}, func(t *testing.T) *service {
		h = startHeld(t, change)
		return h.service
	})
}

// sendBegin sends the headers and the first bytes of a ranking, and returns its answer and the rest
// of the request.
func sendBegin(t *testing.T, conn net.Conn, body string) (resp *http.Response, rest string) {
	t.Helper()
	return sendBeginOf(t, conn, post("/recommend", body), body)
}

// sendBeginOf does so for a request that ends with a body.
func sendBeginOf(
	t *testing.T, conn net.Conn, request, body string,
) (resp *http.Response, rest string) {
	t.Helper()
	begin := len(request) - len(body) + 10
	if _, err := io.WriteString(conn, request[:begin]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp, request[begin:]
}

// A client that closes the connection after the answer, as one of HTTP/1.0 does, can send all of
// its body. Otherwise it would see a reset instead of the answer.
func TestRefusedWhenTheConnectionCloses(t *testing.T) {
	for _, change := range [][2]string{
		{"Host: x\r\n", "Host: x\r\nConnection: close\r\n"}, {"HTTP/1.1", "HTTP/1.0"},
	} {
		servedHeld(t, func(o *api.Options) { o.MaxInFlight = 2 },
			func(t *testing.T, l *pipeListener, h *held) {
				h.fill(2, ranking)
				conn := l.dial()
				defer conn.Close()
				request := strings.Replace(post("/recommend", ranking), change[0], change[1], 1)
				resp, rest := sendBeginOf(t, conn, request, ranking)
				_, err := io.WriteString(conn, rest)
				if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%q: status %d, then %v", change[1], resp.StatusCode, err)
				}
				h.release()
			})
	}
}

// If no slot is free, a ranking is refused before its body has arrived. Its connection serves the
// next request, and no slot is lost.
func TestRefusedBeforeTheBodyArrives(t *testing.T) {
	servedHeld(t, func(o *api.Options) { o.MaxInFlight = 2 },
		func(t *testing.T, l *pipeListener, h *held) {
			h.fill(2, ranking)
			conn := l.dial()
			defer conn.Close()
			begin := time.Now()
			resp, rest := sendBegin(t, conn, ranking)
			if resp.StatusCode != http.StatusServiceUnavailable ||
				resp.Header.Get("Retry-After") != "1" || resp.Close {
				t.Errorf("status %d, headers %v", resp.StatusCode, resp.Header)
			}
			if took := time.Since(begin); took != 0 {
				t.Errorf("the refusal came after %v, want at once", took)
			}
			h.release()
			if _, err := io.WriteString(conn, rest); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := ask(t, conn, post("/recommend", ranking)); got != "200 OK" {
					t.Errorf("after the refusal a ranking got %q", got)
				}
			}
			if got := h.metric(t, "relish_rankings_refused_total"); got != 1 {
				t.Errorf("%g rankings are counted as refused, want 1", got)
			}
		})
}

// A large ranking that needs more slots than are free is refused before its body has arrived. A
// small one gets its slot.
func TestLargeBodyIsRefusedBeforeItArrives(t *testing.T) {
	large := withCandidates(candidateIDs(1400)) // three slots
	servedHeld(t, func(o *api.Options) { o.MaxInFlight = 8 },
		func(t *testing.T, l *pipeListener, h *held) {
			h.fill(1, large) // the service learns how many bytes a value takes
			h.fill(3, ranking)
			conn := l.dial()
			defer conn.Close()
			resp, _ := sendBegin(t, conn, large)
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("with two slots free, a ranking for three got status %d, want 503",
					resp.StatusCode)
			}
			h.fill(2, ranking)
			h.release()
		})
}

// flood sends rankings until the refusal of one is delayed, and returns how many were refused at
// once.
func (h *held) flood(t *testing.T, delay time.Duration) (atOnce int) {
	t.Helper()
	for ; atOnce < 1000; atOnce++ {
		begin := time.Now()
		wantError(t, h.call("POST", "/recommend", ranking), 503, "overloaded", "")
		switch took := time.Since(begin); took {
		case 0:
		case delay:
			return atOnce
		default:
			t.Fatalf("a refusal came after %v, want %v", took, delay)
		}
	}
	t.Fatal("a flood of refusals is not delayed")
	return 0
}

// Refusals are delayed only while there are far more of them than admitted rankings.
func TestFloodOfRefusalsIsDelayed(t *testing.T) {
	const delay = 200 * time.Millisecond
	servedHeld(t, func(o *api.Options) { o.MaxInFlight, o.RefusalDelay = 1, delay },
		func(t *testing.T, l *pipeListener, h *held) {
			h.fill(1, ranking)
			if n := h.flood(t, delay); n < 100 {
				t.Errorf("after %d refusals the next one is delayed, want at least 100", n)
			}
			if got := h.metric(t, "relish_refusals_delayed_total"); got != 1 {
				t.Errorf("%g refusals are counted as delayed, want 1", got)
			}
			h.release()
		})
}

// A connection whose refusal is delayed makes room for a new one.
func TestDelayedRefusalMakesRoom(t *testing.T) {
	servedHeld(t, func(o *api.Options) {
		o.MaxInFlight, o.RefusalDelay, o.MaxConnections = 1, time.Second, 1
	}, func(t *testing.T, l *pipeListener, h *held) {
		h.fill(1, ranking)
		h.flood(t, time.Second)
		refused := l.dial()
		defer refused.Close()
		if _, err := io.WriteString(refused, post("/recommend", ranking)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		other := l.dial()
		defer other.Close()
		get := "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
		if got := ask(t, other, get); got != "200 OK" {
			t.Errorf("beside a delayed refusal another connection got %q", got)
		}
		if got := h.metric(t, "relish_connections_evicted_total"); got != 1 {
			t.Errorf("%g connections were closed, want 1", got)
		}
		h.release()
	})
}

// While no slot is free, a client that sends its whole body before it reads gets its refusal, and
// so does one that waits for 100 Continue.
func TestRefusalForSlotsReachesClients(t *testing.T) {
	h := startHeld(t, func(o *api.Options) { o.MaxInFlight = 1 })
	address, _ := listen(t, h.service)
	h.fill(1, ranking)
	defer h.release()
	for _, size := range []int{100, 100 << 10, 7 << 20} {
		request := post("/recommend", strings.Repeat(" ", size))
		if got := writeThenRead(t, address, request); got != 503 {
			t.Errorf("%d bytes: status %d, want 503", size, got)
		}
	}
	head, _, _ := strings.Cut(post("/recommend", strings.Repeat(" ", 7<<20)), "\r\n\r\n")
	request := head + "\r\nExpect: 100-continue\r\n\r\n"
	if got := writeThenRead(t, address, request); got != 503 {
		t.Errorf("a client that waits for 100 Continue: status %d, want 503", got)
	}
}
