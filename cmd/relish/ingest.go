package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"relish/features/stream"
	"relish/internal/config"
	"relish/internal/redisconn"
)

type ingestCmd struct {
	storeFlags
	bundleFlags
	encoderFlags
	logFlags
	Stream     string        `help:"Key of the stream. Each message has a field event with one event as JSON, as POST /feedback takes it." required:"" placeholder:"KEY"`
	Source     string        `help:"Redis that holds the stream, if it is another one than --redis." placeholder:"URL"`
	Group      string        `help:"Consumer group; it is made if need be and begins with the stream's first message." default:"relish"`
	Consumer   string        `help:"Name within the group. Default: the id of the data folder's log, so that a restart goes on with what it had begun." placeholder:"NAME"`
	Batch      int           `help:"Messages that are read, and made durable, at once." default:"500"`
	ClaimAfter time.Duration `help:"What another consumer has not acknowledged for so long is taken over." default:"1m"`
	Once       bool          `help:"End when nothing is left, instead of waiting for more."`
	JSON       bool          `help:"Print the counts as JSON at the end."`
}

// Run reads the stream until the context ends. It is a replica of its own, with its own data folder: what it takes
// in counts for all that share its --redis.
func (c *ingestCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if c.Redis == "" && c.Source == "" {
		return fmt.Errorf("%w: name the stream's Redis with --redis, or with --source for an embedded store", errUsage)
	}
	log := c.logger()
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{}, log)
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	source := e.conn
	if c.Source != "" {
		if source, err = redisconn.Open(c.Source); err != nil {
			return fmt.Errorf("%w: --source: %v", errUsage, err)
		}
		defer func() { err = errors.Join(err, source.Close()) }()
	}
	if c.Consumer == "" {
		c.Consumer = e.store.Replica()
	}
	consumer := stream.New(source, e.store, stream.Options{
		Stream: c.Stream, Group: c.Group, Consumer: c.Consumer, Batch: c.Batch, ClaimAfter: c.ClaimAfter, Once: c.Once, Log: log,
	})
	if err := consumer.Run(ctx); err != nil {
		return err
	}
	if c.Once && ctx.Err() == nil {
		if err := flushStore(ctx, e.store); err != nil {
			return err
		}
		if _, err := embedAll(ctx, e, c.root(c.Data)); err != nil {
			return err
		}
	}
	n := consumer.Counts()
	if c.JSON {
		return printJSON(n)
	}
	fmt.Printf("accepted %d, duplicates %d, rejected %d, of these claimed from other consumers %d\n", n.Accepted, n.Duplicates, n.Rejected, n.Claimed)
	return nil
}
