package embeddings

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"relish/ranker"
)

// Items walks over all items of a catalogue. It yields an error as its last value.
type Items func(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error]

// minCoverage is the least share of a catalogue's texts that must have vectors for Catalogue to
// wait for no more of them.
const minCoverage = 0.99

// Catalogue follows how many texts of a catalogue have vectors of one service, and encodes those
// that have none. It is safe for concurrent use.
type Catalogue struct {
	service *Service
	items   Items
	name    string // of the encoder, in messages
	log     *slog.Logger

	mu      sync.Mutex
	texts   int // in the catalogue, -1 before they were counted
	covered int // texts of these that have vectors
	ready   bool
}

// NewCatalogue returns a catalogue whose texts are not counted yet. The name tells people which
// encoder is meant, for example "the text encoder".
func NewCatalogue(service *Service, items Items, name string, log *slog.Logger) *Catalogue {
	digest := service.Digest()
	log = log.With("encoder", name, "digest", digest[:min(12, len(digest))])
	return &Catalogue{service: service, items: items, name: name, log: log, texts: -1}
}

// Measure counts the texts and those that have vectors. It encodes nothing. An error means that the
// items cannot be read; nothing has changed then.
func (c *Catalogue) Measure(ctx context.Context) error {
	texts, covered := 0, 0
	for it, err := range c.items(ctx) {
		if err != nil {
			return err
		}
		if !c.service.HasText(it) {
			continue
		}
		texts++
		if c.service.has(it.TextKey) {
			covered++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts, c.covered = texts, covered
	return nil
}

// Waiting returns what is to be encoded before at least 99 % of the texts have vectors, "" if
// nothing is. Once it has returned "", it always does: texts that are added later are encoded as
// they come.
func (c *Catalogue) Waiting() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ready:
		return ""
	case c.texts < 0:
		return "the texts of the catalogue to be counted"
	case float64(c.covered) >= minCoverage*float64(c.texts):
		c.ready = true
		return ""
	}
	return fmt.Sprintf("%d of %d texts encoded by %s", c.covered, c.texts, c.name)
}

// Compact removes the stored vectors of texts that the catalogue no longer has, and returns their
// number. It keeps those that are stored while it runs. A service that does not write a table has
// nothing to remove.
func (c *Catalogue) Compact(ctx context.Context) (dropped int, err error) {
	if !c.service.writable {
		return 0, nil
	}
	gone := map[uint64]bool{}
	for _, key := range c.service.table.Keys() {
		gone[key] = true
	}
	for it, err := range c.items(ctx) {
		if err != nil {
			return 0, err
		}
		if it != nil {
			delete(gone, it.TextKey)
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	return c.service.table.Compact(func(key uint64) bool { return !gone[key] })
}

// retryDelay is the pause before the catalogue is encoded again after an error.
const retryDelay = time.Second

// Encode encodes the catalogue until all texts have vectors, ctx ends or the service is closed. If
// the items cannot be read, it tries again. Texts that the encoder fails on are left without
// vectors. onReady is called once, when Waiting has nothing to wait for any more.
func (c *Catalogue) Encode(ctx context.Context, onReady func()) {
	start := time.Now()
	onReady = sync.OnceFunc(onReady)
	for {
		encoded, err := c.tryEncode(ctx, onReady)
		switch {
		case ctx.Err() != nil || errors.Is(err, ErrClosed):
			return
		case err == nil || errors.Is(err, ErrNotEncoded):
			if err != nil {
				c.log.Warn("an encoder failed on some texts; they rank without vectors",
					"error", err)
			}
			c.mu.Lock()
			c.ready = true
			c.mu.Unlock()
			onReady()
			c.log.Info("all texts of the catalogue have vectors", "encoded", encoded,
				"took", time.Since(start).Round(time.Millisecond))
			return
		}
		c.log.Warn("the catalogue could not be encoded; it is tried again", "after", retryDelay,
			"error", err)
		select {
		case <-ctx.Done():
			return
		case <-c.service.ctx.Done():
			return
		case <-time.After(retryDelay):
		}
	}
}

// tryEncode encodes the catalogue once, and returns how many texts had no vector.
func (c *Catalogue) tryEncode(ctx context.Context, onReady func()) (encoded int, err error) {
	if err := c.Measure(ctx); err != nil {
		return 0, err
	}
	c.mu.Lock()
	covered := c.covered
	c.mu.Unlock()
	err = c.service.EncodeAll(ctx, c.items(ctx), func(_, n int) {
		encoded = n
		c.mu.Lock()
		c.covered = max(c.covered, min(covered+n, c.texts))
		c.mu.Unlock()
		if c.Waiting() == "" {
			onReady()
		}
	})
	return encoded, err
}
