// Package redisconn is the only place that creates Redis clients: from one URL, for a single
// server, a Sentinel set or a Cluster, with timeouts that hold and with a circuit breaker.
//
// Callers bound each command with its context. The client obeys the context in every step: waiting
// for a connection, dialing, writing, and reading the whole reply. Callers report the outcome of a
// command to the breaker. Before a command that has a fallback they ask the breaker, which keeps
// them away from a server that does not answer.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Limits of every client. Contexts on the request path are shorter; these hold for contexts
// without a deadline.
const (
	dialTimeout = 500 * time.Millisecond
	ioTimeout   = 5 * time.Second
	poolSize    = 32
	maxConns    = 64
	bufferBytes = 128 << 10 // the keys of 1,000 candidates are one write, the answer is a few reads
)

// Conn is a client with its breaker. It is safe for concurrent use.
type Conn struct {
	redis.UniversalClient
	Prefix  string // the prefix of all keys, "" for none
	Cluster bool   // the keys of one command must share a hash slot
	breaker
}

// Open creates the client of a URL, see URLForms. It does not connect: the first commands find out
// whether the server answers. The error does not quote a password. The caller must Close the
// client.
func Open(rawURL string) (*Conn, error) {
	silenceClientLog.Do(func() { redis.SetLogger(discardLogger{}) })
	opt, prefix, err := parseURL(rawURL)
	if err != nil && hostAndPort.MatchString(rawURL) {
		return nil, fmt.Errorf("redis URL: %w; write redis://%s, or another of %s", err, rawURL,
			URLForms)
	}
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w; write %s", err, URLForms)
	}
	c := &Conn{UniversalClient: newClient(opt), Prefix: prefix, Cluster: opt.IsClusterMode}
	c.start(c.ping)
	return c, nil
}

// hostAndPort matches what a URL without a scheme is most often. It has no room for a password.
var hostAndPort = regexp.MustCompile(`^[\w.-]+:\d+$`)

// The client logs to standard error, unstructured, some lines for each failed dial. They are
// discarded, because the owner of the breaker logs an outage once.
var silenceClientLog sync.Once

type discardLogger struct{}

// Printf implements the client's logger.
func (discardLogger) Printf(context.Context, string, ...any) {}

// Close stops the breaker and closes all connections.
func (c *Conn) Close() error {
	c.stopProbing()
	return c.UniversalClient.Close()
}

// checkTimeout bounds Check.
const checkTimeout = 2 * time.Second

// Check asks the server whether it answers, for at most two seconds. Its error has the reason. It
// is for commands that cannot do without Redis.
func (c *Conn) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := c.ping(ctx); err != nil {
		return fmt.Errorf("redis does not answer: %w", Explain(err))
	}
	return nil
}

// ping asks every master.
func (c *Conn) ping(ctx context.Context) error {
	if cluster, ok := c.UniversalClient.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
			return m.Ping(ctx).Err()
		})
	}
	return c.Ping(ctx).Err()
}

// Masters identifies the servers that hold the keys. The result changes when one of them restarts,
// when a replica takes over, and when a server that was replaced takes over again.
func (c *Conn) Masters(ctx context.Context) (string, error) {
	cluster, ok := c.UniversalClient.(*redis.ClusterClient)
	if !ok {
		return identityOf(ctx, c.UniversalClient)
	}
	var mu sync.Mutex
	var ids []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
		id, err := identityOf(ctx, m)
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		return err
	})
	slices.Sort(ids)
	return strings.Join(ids, " "), err
}

// identityOf returns the random id that a Redis process has until it ends, and the one of the
// history of writes that it continues, which changes whenever it becomes or stops being a master.
func identityOf(ctx context.Context, c redis.Cmdable) (string, error) {
	pipe := c.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	if _, err := pipe.Exec(ctx); err != nil {
		return "", err
	}
	process := infoField(server.Val(), "run_id")
	history := infoField(replication.Val(), "master_replid")
	if process == "" || history == "" {
		return "", errors.New("redis: the reply to INFO has no run_id or no master_replid")
	}
	return process + "/" + history, nil
}

// infoField returns a field of a reply to INFO, "" if it has none.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func newClient(o *redis.UniversalOptions) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = dialTimeout, ioTimeout, ioTimeout
	o.PoolTimeout = ioTimeout
	o.DialerRetries = 1 // the breaker decides when to try again
	o.ReadBufferSize, o.WriteBufferSize = bufferBytes, bufferBytes
	o.PoolSize, o.MaxActiveConns = poolSize, maxConns
	// One more try, at once, because a pooled connection may be dead.
	o.MaxRetries, o.MinRetryBackoff = 1, -1
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewUniversalClient(o)
}
