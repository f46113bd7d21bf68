package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"relish/features/stream"
	"relish/internal/app"
	"relish/internal/config"
	"relish/internal/redisconn"
)

type ingestCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Stream       string        `help:"Key of the stream. The field event of a message holds one event, as in POST /feedback." required:"" placeholder:"KEY"`
	Source       string        `help:"Redis that holds the stream, if it is not that of --redis." placeholder:"URL"`
	Group        string        `help:"Consumer group. A new one starts at the first message of the stream." default:"relish" placeholder:"NAME"`
	Consumer     string        `help:"Name within the group (default: id of the event log, so that a restart resumes)." placeholder:"NAME"`
	Batch        int           `help:"Messages that are read and made durable together." default:"500" placeholder:"N"`
	ClaimAfter   time.Duration `help:"Take over messages that another consumer has not acknowledged for this long." default:"1m" placeholder:"DURATION"`
	Once         bool          `help:"End when the stream has no more messages."`
	JSON         bool          `help:"Print the counts as JSON at the end."`
}

// Run consumes the stream until the context ends. The process is a replica of its own with its own
// data folder. Its events count for all replicas that share its --redis.
func (c *ingestCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if c.Redis == "" && c.Source == "" {
		return app.Usagef("name the Redis of the stream with --redis, or with --source if the " +
			"state is embedded")
	}
	if err := c.announce(); err != nil {
		return err
	}
	options := engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg)
	options.EncodeLater = false
	e, err := app.OpenEngine(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	source := e.Redis
	if c.Source != "" {
		//nolint:contextcheck // its goroutines live until Close
		source, err = redisconn.Open(c.Source)
		if err != nil {
			return app.Usagef("--source: %w", err)
		}
		defer func() { err = errors.Join(err, source.Close()) }()
	}
	if c.Consumer == "" {
		c.Consumer = e.Store.Replica()
	}
	consumer := stream.New(source, e.Store, stream.Options{
		Stream: c.Stream, Group: c.Group, Consumer: c.Consumer, Batch: c.Batch,
		ClaimAfter: c.ClaimAfter,
		Once:       c.Once, Log: options.Log,
	})
	if err := consumer.Run(ctx); err != nil {
		return err
	}
	if c.Once && ctx.Err() == nil {
		if err := app.FlushStore(ctx, e.Store); err != nil {
			return err
		}
		if _, err := encodeAll(ctx, e, app.BundleFolder(c.Bundles, c.Data)); err != nil {
			return err
		}
	}
	counts := consumer.Counts()
	if c.JSON {
		return printJSON(counts)
	}
	fmt.Printf("accepted %d, duplicates %d, rejected %d; taken over from other consumers %d\n",
		counts.Accepted, counts.Duplicates, counts.Rejected, counts.Claimed)
	return nil
}
