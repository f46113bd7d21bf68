// Package stream ingests events that other systems write into a Redis stream.
//
// Each message is one event: its field "event" holds JSON as POST /feedback takes it. The
// consumers of a group share the messages. A consumer acknowledges a message once its event is
// durable in the event log. If it dies before that, the message stays pending. The consumer reads
// it again after a restart, or another consumer claims it after a while. An event that comes twice
// that way counts once, by its event id.
//
// A message that holds no valid event never becomes valid. It is counted, logged with the reason,
// and acknowledged.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/ranker"
)

// EventField is the field of a message that holds the event.
const EventField = "event"

// Store takes the events. Append makes them durable, in order, and returns an outcome for each.
type Store interface {
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
}

// Options configure a consumer. Stream, Group, Consumer and Log are required.
type Options struct {
	Stream   string // key of the stream, without a prefix
	Group    string // consumer group; created if absent, from the beginning of the stream on
	Consumer string // name in the group; unique, and the same after a restart
	Batch    int    // messages read and made durable at once; 0 means 500
	// ClaimAfter is how long a message of another consumer must be pending before this consumer
	// takes it over. 0 means 1 minute.
	ClaimAfter time.Duration
	// Once makes Run return when no message is left, except those that are pending at other
	// consumers.
	Once bool
	Log  *slog.Logger
}

const (
	blockTime  = time.Second // a read waits this long for messages; Run may take as long to end
	retryDelay = time.Second // after a failure

	// maxLoggedRejections bounds the rejected messages of one batch that are logged one by one.
	maxLoggedRejections = 10
)

// Counts says what became of the messages.
type Counts struct {
	Accepted   int64 `json:"accepted"`
	Duplicates int64 `json:"duplicates"`
	Rejected   int64 `json:"rejected"` // no valid event, or trimmed before they were read
	Claimed    int64 `json:"claimed"`  // of all these, taken over from other consumers
}

// Consumer reads one stream. Run may be called once. Counts may be called at any time.
type Consumer struct {
	rdb   redis.Cmdable
	store Store
	opt   Options

	groupReady  bool
	pendingFrom string    // own pending messages are read after this id; "": none are left
	claimAt     time.Time // when to look for pending messages of other consumers
	claimFrom   string    // where that look continues; "0" at its start

	accepted, duplicates, rejected, claimed atomic.Int64
}

// New returns a consumer that reads with rdb, which stays the caller's.
func New(rdb redis.Cmdable, store Store, opt Options) *Consumer {
	if opt.Batch == 0 {
		opt.Batch = 500
	}
	if opt.ClaimAfter == 0 {
		opt.ClaimAfter = time.Minute
	}
	return &Consumer{rdb: rdb, store: store, opt: opt, pendingFrom: "0", claimFrom: "0"}
}

// Counts returns what became of the messages so far.
func (c *Consumer) Counts() Counts {
	return Counts{c.accepted.Load(), c.duplicates.Load(), c.rejected.Load(), c.claimed.Load()}
}

// Run reads until ctx ends, or with Options.Once until nothing is left. While Redis or the store
// fails, it tries again every second. With Once it returns the first failure instead.
func (c *Consumer) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		more, err := c.processBatch(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			if c.opt.Once {
				return err
			}
			if !failing {
				c.opt.Log.Error("ingestion failed; no event is lost; trying again every second",
					"stream", c.opt.Stream, "error", err)
			}
			failing = true
			// Messages that were read and not acknowledged are pending now, and the group may have
			// gone with the stream.
			c.pendingFrom, c.groupReady = "0", false
			sleep(ctx, retryDelay)
		case err == nil:
			failing = false
			if c.opt.Once && !more {
				return nil
			}
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// processBatch reads and ingests one batch of messages: this consumer's own pending ones first,
// then overdue ones of other consumers, then new ones. more is false if there was none.
func (c *Consumer) processBatch(ctx context.Context) (more bool, err error) {
	if err := c.ensureGroup(ctx); err != nil {
		return false, err
	}
	if c.pendingFrom != "" {
		messages, err := c.read(ctx, c.pendingFrom, -1)
		if err != nil {
			return false, err
		}
		if len(messages) > 0 {
			c.pendingFrom = messages[len(messages)-1].ID
			return true, c.ingest(ctx, messages)
		}
		c.pendingFrom = ""
	}
	if !time.Now().Before(c.claimAt) {
		messages, err := c.claim(ctx)
		if err != nil || len(messages) > 0 || c.claimFrom != "0" {
			return true, errors.Join(err, c.ingest(ctx, messages))
		}
	}
	block := blockTime
	if c.opt.Once {
		block = -1
	}
	messages, err := c.read(ctx, ">", block)
	if err != nil || len(messages) == 0 {
		return false, err
	}
	return true, c.ingest(ctx, messages)
}

func (c *Consumer) ensureGroup(ctx context.Context) error {
	if c.groupReady {
		return nil
	}
	err := c.rdb.XGroupCreateMkStream(ctx, c.opt.Stream, c.opt.Group, "0").Err()
	if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		return fmt.Errorf("create the consumer group %q: %w", c.opt.Group, err)
	}
	c.groupReady = true
	return nil
}

// read reads messages of the group: new ones if id is ">", otherwise this consumer's own pending
// ones after id. block is how long it waits for new ones, -1 not at all.
func (c *Consumer) read(
	ctx context.Context, id string, block time.Duration,
) ([]redis.XMessage, error) {
	streams, err := c.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: c.opt.Group, Consumer: c.opt.Consumer, Streams: []string{c.opt.Stream, id},
		Count: int64(c.opt.Batch), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w", err)
	}
	if len(streams) == 0 {
		return nil, nil
	}
	return streams[0].Messages, nil
}

// claim takes over messages that are pending at other consumers for longer than ClaimAfter. After
// it has gone through all of them, the next look comes after ClaimAfter.
func (c *Consumer) claim(ctx context.Context) ([]redis.XMessage, error) {
	messages, next, err := c.rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: c.opt.Stream, Group: c.opt.Group, Consumer: c.opt.Consumer,
		MinIdle: c.opt.ClaimAfter, Start: c.claimFrom, Count: int64(c.opt.Batch),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("claim pending messages: %w", err)
	}
	c.claimFrom = next
	if next == "0-0" || next == "" {
		c.claimFrom, c.claimAt = "0", time.Now().Add(c.opt.ClaimAfter)
	}
	c.claimed.Add(int64(len(messages)))
	return messages, nil
}
