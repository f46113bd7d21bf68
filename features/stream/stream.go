// Package stream takes in events that other systems write into a Redis stream.
//
// Each message is one event: its field "event" holds JSON as POST /feedback takes it. The consumers of a group share
// the messages. A message is acknowledged once its event is durable here; a consumer that dies before that leaves it
// pending, reads it again when it is back, or loses it to another consumer that claims what has been pending for
// long. Whatever comes twice for that reason has an event id that is known, and counts once.
//
// A message that is no event will be none the next time either: it is counted, named in the log with what is wrong,
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

// Store is where events go: Append makes them durable, in order, and tells what became of each.
type Store interface {
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
}

// Options of a consumer. Stream, Group, Consumer and Log are required.
type Options struct {
	Stream     string        // its key, as it is
	Group      string        // made if need be, from the stream's beginning on
	Consumer   string        // must be the same after a restart, and no other's
	Batch      int           // messages read, and made durable, at once; 0 = 500
	ClaimAfter time.Duration // another consumer's message that is pending for so long is taken over; 0 = 1 minute
	Once       bool          // Run returns when nothing is left that is not another consumer's
	Log        *slog.Logger
}

const (
	blockTime           = time.Second // waiting for new messages; also how long an end may take
	retryDelay          = time.Second // after a failure
	maxLoggedRejections = 10          // messages of one batch that are named as wrong; the others are counted
)

// Counts says what became of messages.
type Counts struct {
	Accepted   int64 `json:"accepted"`
	Duplicates int64 `json:"duplicates"`
	Rejected   int64 `json:"rejected"` // no events, or trimmed from the stream before they were read
	Claimed    int64 `json:"claimed"`  // of all these, taken over from another consumer
}

// Consumer reads one stream. Run is called once; Counts at any time.
type Consumer struct {
	rdb   redis.Cmdable
	store Store
	opt   Options

	groupReady  bool      // the group is there
	pendingFrom string    // where to go on among this consumer's own pending messages, "" when they are done
	claimAt     time.Time // when to look for others' pending messages
	claimFrom   string    // where to go on among these

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

// Run reads until ctx ends, or with Once until nothing is left. While Redis or the store fails it tries again; with
// Once the first failure is returned.
func (c *Consumer) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		left, err := c.processBatch(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			if c.opt.Once {
				return err
			}
			if !failing {
				c.opt.Log.Error("ingesting stands still, nothing is lost; it is tried again every second", "stream", c.opt.Stream, "reason", err)
			}
			failing = true
			// What was read and not acknowledged is pending, and the group may have gone with the stream.
			c.pendingFrom, c.groupReady = "0", false
			sleep(ctx, retryDelay)
		case err == nil:
			failing = false
			if c.opt.Once && !left {
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

// processBatch takes one batch: of this consumer's own pending messages as long as there are any, of others' that are
// overdue, or of new ones. left is false when there was none.
func (c *Consumer) processBatch(ctx context.Context) (left bool, err error) {
	if !c.groupReady {
		err := c.rdb.XGroupCreateMkStream(ctx, c.opt.Stream, c.opt.Group, "0").Err()
		if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return false, fmt.Errorf("making the consumer group: %w", err)
		}
		c.groupReady = true
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
	waiting := blockTime
	if c.opt.Once {
		waiting = -1
	}
	messages, err := c.read(ctx, ">", waiting)
	if err != nil || len(messages) == 0 {
		return false, err
	}
	return true, c.ingest(ctx, messages)
}

// read reads messages of the group after id: ">" for new ones, else this consumer's own pending ones.
func (c *Consumer) read(ctx context.Context, id string, waiting time.Duration) ([]redis.XMessage, error) {
	streams, err := c.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: c.opt.Group, Consumer: c.opt.Consumer, Streams: []string{c.opt.Stream, id}, Count: int64(c.opt.Batch), Block: waiting,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the stream: %w", err)
	}
	if len(streams) == 0 {
		return nil, nil
	}
	return streams[0].Messages, nil
}

// claim takes over what has been pending for too long. When it has gone through all, it rests for as long.
func (c *Consumer) claim(ctx context.Context) ([]redis.XMessage, error) {
	messages, next, err := c.rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: c.opt.Stream, Group: c.opt.Group, Consumer: c.opt.Consumer, MinIdle: c.opt.ClaimAfter, Start: c.claimFrom, Count: int64(c.opt.Batch),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("claiming pending messages: %w", err)
	}
	c.claimFrom = next
	if next == "0-0" || next == "" {
		c.claimFrom, c.claimAt = "0", time.Now().Add(c.opt.ClaimAfter)
	}
	c.claimed.Add(int64(len(messages)))
	return messages, nil
}
