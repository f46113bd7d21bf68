package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"relish/api"
)

// writeThenRead sends a request, reads nothing before all of it is sent, and returns the status of
// the answer.
func writeThenRead(t *testing.T, address, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Errorf("the server does not take the whole request: %v", err)
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("no answer: %v", err)
		return 0
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "code") {
		t.Errorf("the answer is %q, %v", text, err)
	}
	return resp.StatusCode
}

// A client that sends its whole body before it reads gets the answer that refuses it, whatever the
// reason is, and the next one is answered as before.
func TestRefusalsReachClientsThatWriteFirst(t *testing.T) {
	large := strings.Repeat(" ", 7<<20)
	chunked := fmt.Sprintf("POST /recommend HTTP/1.1\r\nHost: x\r\n"+
		"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
		9<<20, strings.Repeat(" ", 9<<20))
	little := func(o *api.Options) { o.BodyMemory = 3 << 20 }
	none := func(o *api.Options) { o.BodyMemory = 1 << 30 }
	for _, c := range []struct {
		name    string
		options func(*api.Options)
		request string
		want    int
	}{
		{"too large", none, post("/recommend", large+large[:2<<20]), 413},
		{"too large, not announced", none, chunked, 413},
		{"too large for the memory", little, post("/recommend", large), 413},
		{"too many requests", func(o *api.Options) { o.RatePerKey = 1e-9 },
			post("/recommend", large), 429},
		{"no key", func(o *api.Options) { o.Keys = []api.Key{key("k", "k", "rank")} },
			post("/recommend", large), 401},
		{"another type", none, strings.Replace(post("/recommend", large),
			"application/json", "text/csv", 1), 415},
		{"no route", none, post("/nowhere", large), 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, c.options)
			address, _ := listen(t, s)
			if c.want == 429 {
				s.call("POST", "/recommend", "{}") // takes the only request
			}
			if got := writeThenRead(t, address, c.request); got != c.want {
				t.Errorf("status %d, want %d", got, c.want)
			}
		})
	}
}

// Without memory for another body, the answer 503 arrives, too.
func TestRefusalForMemoryReachesClients(t *testing.T) {
	s := start(t, func(o *api.Options) { o.BodyMemory = 12 << 20 })
	address, _ := listen(t, s)
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	whole := post("/recommend", strings.Repeat(" ", 7<<20))
	if _, err := io.WriteString(slow, whole[:len(whole)-1]); err != nil {
		t.Fatal(err)
	}
	for s.metric(t, "relish_body_memory_bytes") < 8<<20 { // until the first one has its memory
		time.Sleep(time.Millisecond)
	}
	if got := writeThenRead(t, address, whole); got != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", got)
	}
}

// A client that waits for 100 Continue is refused at once and sends no body.
func TestRefusalBeforeTheBody(t *testing.T) {
	s := start(t, func(o *api.Options) { o.Keys = []api.Key{key("k", "k", "rank")} })
	address, _ := listen(t, s)
	head, _, _ := strings.Cut(post("/recommend", strings.Repeat(" ", 7<<20)), "\r\n\r\n")
	request := head + "\r\nExpect: 100-continue\r\n\r\n"
	if got := writeThenRead(t, address, request); got != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", got)
	}
}
