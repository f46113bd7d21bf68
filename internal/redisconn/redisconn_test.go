package redisconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// The client looks once a second whether it may dial again, until its pool is closed; it may sleep at the end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

func open(t *testing.T, url string) *redisconn.Conn {
	t.Helper()
	c, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// works waits until the connection can write and read.
func works(t *testing.T, c *redisconn.Conn) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = c.Set(t.Context(), "{k}", "v", time.Minute).Err(); err != nil {
			continue
		}
		vals, verr := c.GetMany(t.Context(), []string{"{k}", "{none}"})
		if err = verr; err == nil {
			if !slices.Equal(vals, []any{"v", nil}) {
				t.Errorf("got %v", vals)
			}
			return
		}
	}
	t.Fatalf("not within a minute: %v", err)
}

// What is wrong with a URL is said, with the forms that there are and without its password.
func TestWrongURLs(t *testing.T) {
	for url, says := range map[string]string{
		"localhost:6379":                              "no scheme",
		"http://localhost":                            "scheme",
		"redis-x://localhost":                         "scheme",
		"redis://a,b":                                 "several hosts",
		"redis://:secret@a:1,:2/x/y":                  "database",
		"redis://:secret@/":                           "host is empty",
		"redis://a/-1":                                "database",
		"redis-cluster://a/1":                         "no databases",
		"redis-sentinel://a":                          "name the master",
		"redis-sentinel://:secret@a/m/x":              "database",
		"redis://:secret@a?nonsense=1":                "nonsense",
		"redis://a?prefix={x}":                        "prefix",
		"redis://a?prefix=" + strings.Repeat("x", 65): "prefix",
		"redis://u:secret%zz@a":                       "malformed",
		"redis://a?ca=x":                              "rediss://",
		"rediss://a?ca=/does/not/exist":               "/does/not/exist",
	} {
		_, err := redisconn.Open(url)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "redis-sentinel://") {
			t.Errorf("%s: %v, want something about %q", url, err, says)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error holds the password: %v", url, err)
		}
	}
}

func TestDatabaseAndPrefix(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL()+"/3?prefix=tenant")
	works(t, c)
	if c.Prefix != "tenant" || c.Cluster {
		t.Errorf("prefix %q, cluster %v", c.Prefix, c.Cluster)
	}
	if out := server.Do("EXISTS", "{k}"); out != ":0\r\n" {
		t.Error("the key is in database 0")
	}
}

// A user of Redis' access lists who may do what relish needs, and no more.
func TestACL(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "relish", "on", ">it's a secret", "~*", "+@read", "+@write", "+@connection", "+info")
	server.Do("CONFIG", "SET", "requirepass", "another")
	works(t, open(t, "redis://relish:it%27s%20a%20secret@"+server.Addr))
	bad := open(t, "redis://relish:wrong@"+server.Addr)
	if err := bad.Ping(t.Context()).Err(); err == nil || strings.Contains(err.Error(), "wrong@") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestSentinelAndCluster(t *testing.T) {
	primary := redistest.Start(t)
	redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port))
	works(t, open(t, redistest.StartSentinel(t, primary)))
	c := open(t, redistest.StartCluster(t, 3, 0).URL())
	works(t, c)
	if ids, err := c.Masters(t.Context()); err != nil || len(strings.Fields(ids)) != 3 || !c.Cluster {
		t.Errorf("masters %q, %v", ids, err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	port := redistest.FreePort(t) // beside the plain one, on which the test server is waited for
	redistest.Start(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	works(t, open(t, "rediss://"+addr+"?ca="+cert))
	if err := open(t, "rediss://"+addr).Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody knows was taken: %v", err)
	}
	if err := open(t, "redis://"+addr).Ping(t.Context()).Err(); err == nil {
		t.Error("talked without TLS")
	}
}

// certificate makes one for 127.0.0.1 that signs itself.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Three failures in a row open the breaker, a server that answers closes it; what is no failure of the server does
// not count.
func TestBreaker(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL())
	works(t, c)
	failed := errors.New("failed")
	for range 10 {
		c.Report(failed)
		c.Report(failed)
		c.Report(nil)
	}
	c.Report(c.Get(t.Context(), "none").Err()) // redis.Nil
	if !c.Up() || c.Opened() != 0 {
		t.Fatalf("up %v, opened %d times", c.Up(), c.Opened())
	}
	server.Pause()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		start := time.Now()
		err := c.Get(ctx, "k").Err()
		cancel()
		if took := time.Since(start); err == nil || took > 3*time.Second {
			t.Errorf("a server that hangs answered %v after %v", err, took)
		}
		c.Report(err)
	}
	if c.Up() || c.Opened() != 1 {
		t.Fatalf("after three failures: up %v, opened %d times", c.Up(), c.Opened())
	}
	server.Resume()
	for deadline := time.Now().Add(time.Minute); !c.Up(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server was not found again within a minute")
		}
	}
	works(t, c)
}
