package main

import (
	"context"
	"errors"
	"fmt"

	"relish/internal/config"
	"relish/ranker"
)

type embedCmd struct {
	storeFlags
	encoderFlags
	logFlags
	JSON bool `help:"Print the count as JSON."`
}

// Run encodes what is missing and waits until it is stored.
func (c *embedCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{onItem: noHook}, c.logger())
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	if e.vectors == nil {
		return fmt.Errorf("%w: embed needs a text encoder; leave out --no-text", errUsage)
	}
	n, err := embedAll(ctx, e, &c.encoderFlags, c.Data)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(map[string]int{"encoded": n})
	}
	fmt.Printf("texts encoded %d\n", n)
	return nil
}

// noHook leaves new items to embedAll, which waits for them.
func noHook([]*ranker.ItemInfo) {}

// embedAll encodes every item's text that has no vector, also by the active bundle's own encoder, and returns how many
// vectors it made.
func embedAll(ctx context.Context, e *engine, f *encoderFlags, data string) (encoded int, err error) {
	if e.vectors == nil {
		return 0, nil
	}
	p := newProgress("encode texts")
	defer p.end()
	var failed error
	items := func(yield func(*ranker.ItemInfo) bool) {
		for it, err := range e.store.Items(ctx) {
			if failed = err; err != nil || !yield(it) {
				return
			}
		}
	}
	err = e.vectors.EncodeAll(ctx, items, func(done, n int) {
		encoded = n
		p.set(done, 0)
	})
	p.end()
	if err := errors.Join(failed, err); err != nil {
		return encoded, err
	}
	n, err := embedOwn(ctx, e, f, data, items)
	return encoded + n, errors.Join(failed, err)
}
