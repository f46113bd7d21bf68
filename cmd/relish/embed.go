package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/internal/config"
	"relish/ranker"
	"relish/ranker/bundle"
)

type embedCmd struct {
	storeFlags
	bundleFlags
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
	n, err := embedAll(ctx, e, c.root(c.Data))
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

// embedAll encodes every item's text that has no vector, also by the own encoder of the bundle that is active in the folder
// bundles, and returns how many vectors it made.
func embedAll(ctx context.Context, e *engine, bundles string) (encoded int, err error) {
	if e.vectors == nil {
		return 0, nil
	}
	if encoded, err = encodeBy(ctx, e.vectors, e, "encode texts"); err != nil {
		return encoded, err
	}
	version, err := bundle.Active(bundles)
	if err != nil || version == ranker.PriorVersion {
		return encoded, err
	}
	m, err := bundle.ReadManifest(filepath.Join(bundles, version))
	if err != nil || !m.Encoder.FineTuned {
		return encoded, err
	}
	texts, err := finetuned.Open(filepath.Join(bundles, version), m, e.ownOpt) // it checks the bytes that it reads
	if err != nil {
		return encoded, fmt.Errorf("bundle %s: %w", version, err)
	}
	n, err := encodeBy(ctx, texts.Service, e, "encode texts by the active bundle's encoder")
	return encoded + n, errors.Join(err, texts.Close(ctx))
}

// encodeBy encodes what has no vector by one encoder.
func encodeBy(ctx context.Context, by *embeddings.Service, e *engine, what string) (encoded int, err error) {
	p := newProgress(what)
	defer p.end()
	err = by.EncodeAll(ctx, e.store.Items(ctx), func(done, n int) {
		encoded = n
		p.set(done, 0)
	})
	return encoded, err
}
