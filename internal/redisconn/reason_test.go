package redisconn_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// What a wrong URL or account leads to says what to correct, and never quotes the password. The
// breaker knows the reason as long as the server is away.
func TestReasons(t *testing.T) {
	server := redistest.Start(t)
	protected := redistest.Start(t, "--requirepass", "secret")
	node := redistest.StartCluster(t, 3, 0).Nodes[0]
	for name, c := range map[string]struct{ url, want string }{
		"unknown host":     {"redis://nosuchhost.invalid", "correct the host"},
		"wrong password":   {"redis://:wrongsecret@" + protected.Addr, "correct user and password"},
		"no password":      {protected.URL(), "add user and password"},
		"no database":      {server.URL() + "/99", "correct the database"},
		"no cluster":       {"redis-cluster://" + server.Addr, "write redis://HOST"},
		"cluster database": {"redis://" + node.Addr + "/1", "redis-cluster://HOST without"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := open(t, c.url)
			err := conn.Check(t.Context())
			refused := new(redisconn.ConfigurationError)
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want a ConfigurationError with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the password: %v", err)
			}
			for range 3 {
				conn.Report(errors.New("context deadline exceeded"))
			}
			deadline := time.Now().Add(time.Minute)
			for !errors.As(conn.LastError(), &refused) {
				if time.Now().After(deadline) {
					t.Fatalf("a minute later the last error is %v", conn.LastError())
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}
