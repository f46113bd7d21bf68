package main

import (
	"context"
	"errors"
	"fmt"

	"relish/internal/app"
	"relish/internal/config"
)

type embedCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	JSON         bool `help:"Print the number of texts as JSON."`
}

// Run encodes the texts that have no vector and returns when the vectors are stored.
func (c *embedCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if c.NoText {
		return app.Usagef("relish embed needs a text encoder; leave out --no-text")
	}
	if c.Redis == "" {
		err = c.check()
	} else {
		err = c.announce()
	}
	if err != nil {
		return err
	}
	e, err := app.OpenEngine(ctx, engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	n, err := encodeAll(ctx, e, app.BundleFolder(c.Bundles, c.Data))
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(map[string]int{"encoded": n})
	}
	fmt.Printf("texts encoded %d\n", n)
	return nil
}

// engineOptions are the options of the commands that change a data folder and end. They encode the
// texts of new items by encodeAll, which waits for them.
func engineOptions(
	store *storeFlags, encoder *encoderFlags, log *logFlags, cfg *config.Config,
) app.EngineOptions {
	return app.EngineOptions{
		Store: store.options(), Encoder: encoder.options(), Config: cfg, EncodeLater: true,
		Log: log.logger(),
	}
}

// encodeAll encodes every text that has no vector, and shows the progress.
func encodeAll(ctx context.Context, e *app.Engine, bundles string) (encoded int, err error) {
	var stages stageProgress
	defer stages.end()
	return e.EncodeAll(ctx, bundles, func(encoder string, done int) {
		stages.set("encode texts by "+encoder, done, 0)
	})
}
