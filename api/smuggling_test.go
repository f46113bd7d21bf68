package api_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Requests that two HTTP servers could read in different ways are refused, and so are headers
// without end: by an answer, or by closing the connection.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	body := ranking
	for name, c := range map[string]struct {
		request string
		refused bool
	}{
		"two lengths": {post("/recommend", body, "Content-Length: 5\r\n"), true},
		"chunks of no valid length": {
			post("/recommend", "", "Transfer-Encoding: chunked\r\n") + "zz\r\n", true},
		"an unknown coding": {post("/recommend", body, "Transfer-Encoding: gzip\r\n"), true},
		"a folded header":   {post("/recommend", body, " folded\r\n"), true},
		"a space in a name": {post("/recommend", body, "X Y: 1\r\n"), true},
		"a negative length": {
			"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", true},
		"no host":   {"POST /recommend HTTP/1.1\r\n\r\n", true},
		"two hosts": {post("/recommend", body, "Host: y\r\n"), true},
		"HTTP 3.0":  {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", true},
		"a header of 2 MB": {
			post("/recommend", body, "X-A: "+strings.Repeat("a", 2<<20)+"\r\n"), true},
		"200,000 headers":     {post("/recommend", body, strings.Repeat("A:b\r\n", 200_000)), true},
		"another method":      {"BREW /recommend HTTP/1.1\r\nHost: x\r\n\r\n", true},
		"an ordinary request": {post("/recommend", body), false},
	} {
		t.Run(name, func(t *testing.T) {
			served(t, func(t *testing.T, l *pipeListener, _ func() error) {
				conn := l.dial()
				defer conn.Close()
				go io.WriteString(conn, c.request) // fails if the service closes the connection
				status := http.StatusBadRequest
				if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
					status = resp.StatusCode
				}
				if refused := status >= 400; refused != c.refused {
					t.Errorf("the answer is %d", status)
				}
			}, func(t *testing.T) *service { return start(t, nil) })
		})
	}
}
