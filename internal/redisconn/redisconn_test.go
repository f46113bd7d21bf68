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

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// After failed dials the client retries once a second until its pool is closed, so that goroutine
// may still be asleep at the end.
func TestMain(m *testing.M) {
	const redial = "github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(redial))
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

// checkWorks waits until the connection can write and read.
func checkWorks(t *testing.T, c *redisconn.Conn) {
	t.Helper()
	var err error
	deadline := time.Now().Add(time.Minute)
	for ; time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = c.Set(t.Context(), "{k}", "v", time.Minute).Err(); err != nil {
			continue
		}
		vals, verr := c.GetMany(t.Context(), []string{"{k}", "{none}"})
		if err = verr; err == nil {
			if !slices.Equal(vals, []redisconn.Value{{Data: "v"}, {}}) {
				t.Errorf("got %v", vals)
			}
			return
		}
	}
	t.Fatalf("the connection does not work after a minute: %v", err)
}

// The error of a wrong URL says what is wrong and which forms there are. It does not quote the
// password.
func TestOpenRefusesWrongURLs(t *testing.T) {
	for url, want := range map[string]string{
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
		"redis://:secret@a?nonsense=1":                "a parameter is unknown",
		"redis://a?prefix={x}":                        "prefix must have at most 64 bytes",
		"redis://a?prefix=" + strings.Repeat("x", 65): "prefix",
		"redis://u:secret%zz@a":                       "%25 for %",
		"redis://u:secret?secret@a/0":                 "%3F for ?",
		"redis://u:secret/secret@a/0":                 "%2F for /",
		"redis://u:secret#secret@a/0":                 "%23 for #",
		"redis://u:secret@secret?secret@a":            "%40 for @",
		"redis-sentinel://a/m?sentinel_password=s%zz": "%25 for %",
		"redis://u:secret":                            "port",
		"u:secret@a://x":                              "scheme",
		"secret":                                      "no scheme",
		":secret":                                     "no scheme",
		"redis://a?ca=x":                              "rediss://",
		"rediss://a?ca=/does/not/exist":               "/does/not/exist",
	} {
		_, err := redisconn.Open(url)
		if err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "redis-sentinel://") {
			t.Errorf("%s: error %v, want one with %q and the URL forms", url, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes the password: %v", url, err)
		}
	}
}

func TestDatabaseAndPrefix(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL()+"/3?prefix=tenant")
	checkWorks(t, c)
	if c.Prefix != "tenant" || c.Cluster {
		t.Errorf("prefix %q, cluster %v", c.Prefix, c.Cluster)
	}
	if out := server.Do("EXISTS", "{k}"); out != ":0\r\n" {
		t.Error("the key is in database 0, not 3")
	}
}

// A Redis user that has only the permissions that Relish needs can write and read.
func TestACL(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "relish", "on", ">it's a secret", "~*",
		"+@read", "+@write", "+@connection", "+info")
	server.Do("CONFIG", "SET", "requirepass", "another")
	checkWorks(t, open(t, "redis://relish:it%27s%20a%20secret@"+server.Addr))
	bad := open(t, "redis://relish:wrong@"+server.Addr)
	if err := bad.Ping(t.Context()).Err(); err == nil || strings.Contains(err.Error(), "wrong@") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestSentinelAndCluster(t *testing.T) {
	primary := redistest.Start(t)
	redistest.Start(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(primary.Port))
	checkWorks(t, open(t, redistest.StartSentinel(t, primary)))
	c := open(t, redistest.StartCluster(t, 3, 0).URL())
	checkWorks(t, c)
	ids, err := c.Masters(t.Context())
	if err != nil || len(strings.Fields(ids)) != 3 || !c.Cluster {
		t.Errorf("masters %q, %v, cluster %v", ids, err, c.Cluster)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	port := redistest.FreePort(t) // besides the plain port, on which Start waits for the server
	redistest.Start(t, "--tls-port", fmt.Sprint(port), "--tls-auth-clients", "no",
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	checkWorks(t, open(t, "rediss://"+addr+"?ca="+cert))
	unknown := open(t, "rediss://"+addr)
	err := unknown.Ping(t.Context()).Err()
	for errors.Is(err, context.DeadlineExceeded) { // a busy machine
		err = unknown.Ping(t.Context()).Err()
	}
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Ping with an unknown certificate: %v, want a certificate error", err)
	}
	if err := open(t, "redis://"+addr).Ping(t.Context()).Err(); err == nil {
		t.Error("Ping without TLS succeeded on a TLS port")
	}
}

// certificate writes a self-signed certificate for 127.0.0.1 and its key to files in dir.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der},
		key:  {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// disableOwnTimeout makes the client's own time limit so long that only the contexts of the
// commands can end a wait. A client that ignores contexts then waits until the server answers, on
// any machine.
func disableOwnTimeout(c *redisconn.Conn) {
	c.UniversalClient.(*redis.Client).Options().ReadTimeout = time.Hour
}

// A command ends with its context while the server is frozen.
func TestDeadlineHolds(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL())
	checkWorks(t, c)
	disableOwnTimeout(c)
	server.Pause()
	defer server.Resume()
	for name, ask := range map[string]func(context.Context) error{
		"GetMany": func(ctx context.Context) error {
			_, err := c.GetMany(ctx, []string{"{k}"})
			return err
		},
		"pipeline": func(ctx context.Context) error {
			pipe := c.Pipeline()
			pipe.Get(ctx, "{k}")
			_, err := pipe.Exec(ctx)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		ended := make(chan error, 1)
		go func() { ended <- ask(ctx) }()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: a frozen server answered", name)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s: a minute after its deadline it still waits for a frozen server", name)
			server.Resume()
			<-ended
			server.Pause()
		}
		cancel()
	}
}

// Three failures in a row open the breaker. An answer closes it. redis.Nil is no failure.
func TestBreaker(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL())
	checkWorks(t, c)
	failed := errors.New("failed")
	for range 10 {
		c.Report(failed)
		c.Report(failed)
		c.Report(nil)
	}
	c.Report(c.Get(t.Context(), "none").Err()) // redis.Nil
	if !c.Up() || c.Opened() != 0 {
		t.Fatalf("before three failures in a row: up %v, opened %d times", c.Up(), c.Opened())
	}
	server.Pause()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := c.Get(ctx, "k").Err()
		cancel()
		if err == nil {
			t.Error("a frozen server answered")
		}
		c.Report(err)
	}
	if c.Up() || c.Opened() != 1 {
		t.Fatalf("after three failures: up %v, opened %d times", c.Up(), c.Opened())
	}
	server.Resume()
	for deadline := time.Now().Add(time.Minute); !c.Up(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the breaker is still open a minute after the server answers again")
		}
	}
	checkWorks(t, c)
}
