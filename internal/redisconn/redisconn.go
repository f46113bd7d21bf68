// Package redisconn is the one place where a Redis client is made: from one URL for a single server,
// a Sentinel set or a Cluster, with timeouts that hold and with a breaker that keeps callers off a
// server that does not answer.
//
// Callers bound each command with its context; the client obeys it at every step (waiting for a
// connection, dialling, writing, reading the whole reply). They report the outcome to the breaker,
// and ask it before a command that has a stand-in.
package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// URLForms is what Open understands, for messages and help.
const URLForms = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], redis-cluster://HOST[:PORT],HOST..., redis-sentinel://HOST[:PORT],HOST.../MASTER[/DB]; rediss... for TLS, ?ca=FILE if the server's certificate is not a public one; ?prefix=TENANT puts all keys under a prefix; for sentinels of their own accounts ?sentinel_user=, ?sentinel_password="

// Limits of every client. Contexts are shorter on the request path; these hold for whatever has none.
const (
	dialTimeout = 500 * time.Millisecond
	ioTimeout   = 5 * time.Second
	poolSize    = 32
	bufferBytes = 128 << 10 // a question about 1,000 candidates is one write, its answer a few reads
	maxConns    = 64
)

// Conn is a client with its breaker. It is safe for concurrent use.
type Conn struct {
	redis.UniversalClient
	Prefix  string // of all keys
	Cluster bool   // keys of one command must share a slot
	breaker
}

// Open makes the client of a URL (see Forms). It does not connect: a server that is away is found when
// it comes.
func Open(rawURL string) (*Conn, error) {
	silenceClientLog.Do(func() { redis.SetLogger(discardLogger{}) })
	opt, prefix, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w; write %s", err, URLForms)
	}
	c := &Conn{UniversalClient: newClient(opt), Prefix: prefix, Cluster: opt.IsClusterMode}
	c.start(c.ping)
	return c, nil
}

// The client's own log lines go to standard error, unstructured, some for each failed dial. The breaker's owner
// says what matters.
var silenceClientLog sync.Once

type discardLogger struct{}

// Printf implements the client's logger.
func (discardLogger) Printf(context.Context, string, ...any) {}

// Close ends the breaker's probing and closes all connections.
func (c *Conn) Close() error {
	c.stopProbing()
	return c.UniversalClient.Close()
}

// ping asks every master.
func (c *Conn) ping(ctx context.Context) error {
	if cluster, ok := c.UniversalClient.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error { return m.Ping(ctx).Err() })
	}
	return c.Ping(ctx).Err()
}

// Masters identifies the processes that hold the keys: it changes when one of them was restarted or another
// took over.
func (c *Conn) Masters(ctx context.Context) (string, error) {
	if cluster, ok := c.UniversalClient.(*redis.ClusterClient); ok {
		ids := make(chan string, 1024)
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
			id, err := runID(ctx, m)
			ids <- id
			return err
		})
		close(ids)
		return joinSorted(ids), err
	}
	return runID(ctx, c.UniversalClient)
}

func newClient(o *redis.UniversalOptions) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, ioTimeout, ioTimeout, ioTimeout
	o.DialerRetries = 1 // the breaker decides when to try again
	o.ReadBufferSize, o.WriteBufferSize = bufferBytes, bufferBytes
	o.PoolSize, o.MaxActiveConns = poolSize, maxConns
	o.MaxRetries, o.MinRetryBackoff = 1, -1 // one more try, at once: a pooled connection may have died
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewUniversalClient(o)
}

// parse reads a URL. Lists of hosts are beyond net/url, so the authority is split here.
func parse(raw string) (_ *redis.UniversalOptions, prefix string, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, "", errors.New("it has no scheme")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil {
		return nil, "", errors.New("user, path or query are malformed") // the parser's error would quote the password
	}
	o := &redis.UniversalOptions{Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	kind, secure := strings.CutPrefix(scheme, "rediss")
	if !secure {
		if kind, ok = strings.CutPrefix(scheme, "redis"); !ok {
			return nil, "", fmt.Errorf("scheme %q is unknown", scheme)
		}
	} else {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	port := "6379"
	switch kind {
	case "":
	case "-cluster":
		o.IsClusterMode = true
		if path[0] != "" {
			return nil, "", errors.New("a cluster has no databases")
		}
	case "-sentinel":
		port, o.MasterName = "26379", path[0]
		if o.MasterName == "" {
			return nil, "", errors.New("name the master that the sentinels watch, after the hosts")
		}
		path = path[1:]
	default:
		return nil, "", fmt.Errorf("scheme %q is unknown", scheme)
	}
	if err := setDatabase(o, path); err != nil {
		return nil, "", err
	}
	if o.Addrs, err = addresses(hosts, port); err != nil {
		return nil, "", err
	}
	if kind == "" && len(o.Addrs) > 1 {
		return nil, "", errors.New("several hosts need redis-cluster:// or redis-sentinel://")
	}
	prefix, err = applyParameters(o, u.Query())
	return o, prefix, err
}

func setDatabase(o *redis.UniversalOptions, path []string) error {
	if len(path) == 0 || path[0] == "" {
		return nil
	}
	db, err := strconv.Atoi(path[0])
	if err != nil || db < 0 || len(path) > 1 {
		return errors.New("the database is a number, 0 or more")
	}
	o.DB = db
	return nil
}

func addresses(hosts, port string) (out []string, err error) {
	for h := range strings.SplitSeq(hosts, ",") {
		if host, p, err := net.SplitHostPort(h); err == nil {
			out = append(out, net.JoinHostPort(host, p))
			continue
		}
		h = strings.Trim(h, "[]")
		if h == "" {
			return nil, errors.New("a host is empty")
		}
		out = append(out, net.JoinHostPort(h, port))
	}
	return out, nil
}

func applyParameters(o *redis.UniversalOptions, q url.Values) (prefix string, err error) {
	for name, v := range q {
		switch name {
		case "prefix":
			if prefix = v[0]; strings.ContainsAny(prefix, "{}") || len(prefix) > 64 {
				return "", errors.New("prefix has at most 64 bytes and no braces")
			}
		case "ca":
			if err := trustCA(o, v[0]); err != nil {
				return "", err
			}
		case "sentinel_user":
			o.SentinelUsername = v[0]
		case "sentinel_password":
			o.SentinelPassword = v[0]
		default:
			return "", fmt.Errorf("parameter %q is unknown", name)
		}
	}
	return prefix, nil
}

// trustCA takes only certificates that the file's sign.
func trustCA(o *redis.UniversalOptions, file string) error {
	if o.TLSConfig == nil {
		return errors.New("ca is for rediss://")
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	o.TLSConfig.RootCAs = x509.NewCertPool()
	if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s holds no certificate in PEM form", file)
	}
	return nil
}
