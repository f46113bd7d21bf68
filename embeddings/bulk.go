package embeddings

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"relish/ranker"
)

const (
	// bulkChunkSize is how many items EncodeAll submits at a time.
	bulkChunkSize = 512
	// bulkChunks is how many chunks are in flight at most. A chunk ends with its rarest lengths,
	// for which only texts of later chunks can fill a batch.
	bulkChunks = 4
)

// chunk is a part of EncodeAll's items.
type chunk struct {
	w     *waiter
	jobs  []*job
	ids   []string // an item of each job
	err   error    // the encoder fails
	items int
}

// EncodeAll encodes the items' texts that have no vector yet, and returns when all vectors are
// durable in the table. Requests have priority. progress (may be nil) is called from the caller's
// goroutine with the number of items that are done, and of those that had to be encoded.
//
// If the encoder fails on some texts, the others are encoded all the same, and the error wraps
// ErrNotEncoded and gives their number and some items. If it fails on every text, EncodeAll ends
// with an ErrFailing. If items yields an error, EncodeAll
// encodes what came before and returns that error.
func (s *Service) EncodeAll(
	ctx context.Context, items iter.Seq2[*ranker.ItemInfo, error], progress func(done, encoded int),
) error {
	b := &bulkEncoding{s: s, ctx: ctx, progress: progress}
	var readErr error
	part := make([]*ranker.ItemInfo, 0, bulkChunkSize)
	for it, err := range items {
		if err != nil {
			readErr = err
			break
		}
		if part = append(part, it); len(part) == bulkChunkSize {
			if err := b.submit(part); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	if err := b.submit(part); err != nil {
		return err
	}
	if err := b.waitUntil(0); err != nil {
		return err
	}
	if err := s.Flush(); err != nil {
		return err
	}
	if readErr != nil {
		return readErr
	}
	if b.failed > 0 {
		return fmt.Errorf("%w: %d of %d items, among them %s; they are ranked without their text, "+
			"see the log for the cause", ErrNotEncoded, b.failed, b.done,
			strings.Join(b.examples, ", "))
	}
	return nil
}

// bulkEncoding is one call of EncodeAll.
type bulkEncoding struct {
	s        *Service
	ctx      context.Context
	progress func(done, encoded int)
	inFlight []*chunk // in the order in which they were submitted

	done, encoded, failed int      // items
	examples              []string // quoted ids of failed items
}

// maxExamples bounds the failed items that an error names.
const maxExamples = 5

// fail counts an item whose text could not be encoded.
func (b *bulkEncoding) fail(id string) {
	if b.failed++; len(b.examples) < maxExamples {
		b.examples = append(b.examples, strconv.Quote(id))
	}
}

// submit submits a chunk of items. It waits for earlier ones if there are too many.
func (b *bulkEncoding) submit(items []*ranker.ItemInfo) error {
	b.inFlight = append(b.inFlight, b.s.submitBulk(items, b.fail))
	return b.waitUntil(bulkChunks - 1)
}

// waitUntil waits until at most n chunks are in flight. After an error it gives them all up.
func (b *bulkEncoding) waitUntil(n int) error {
	for len(b.inFlight) > n {
		c := b.inFlight[0]
		b.inFlight = b.inFlight[1:]
		if err := b.waitFor(c); err != nil {
			for _, c := range b.inFlight {
				b.s.queue.abandon(c.w, c.jobs)
			}
			return err
		}
	}
	return nil
}

// waitFor waits until a chunk is encoded, and counts its items.
func (b *bulkEncoding) waitFor(c *chunk) error {
	if len(c.jobs) > 0 {
		b.s.await(b.ctx, c.w, c.jobs)
	}
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	for i, j := range c.jobs {
		switch {
		case j.vec != nil:
			b.encoded++
		case errors.Is(j.err, ErrClosed), errors.Is(j.err, ErrFailing):
			return j.err
		case errors.Is(j.err, errNoTokens):
		default:
			b.fail(c.ids[i])
		}
	}
	if c.err != nil {
		return c.err
	}
	b.done += c.items
	if b.progress != nil {
		b.progress(b.done, b.encoded)
	}
	return nil
}

// submitBulk submits the items' texts that are not stored yet, each once. It calls refused with the
// ids of those whose texts failed recently.
func (s *Service) submitBulk(items []*ranker.ItemInfo, refused func(id string)) *chunk {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	c := &chunk{w: newWaiter(), items: len(items)}
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		if !s.HasText(it) || q.jobs[it.TextKey] == nil && s.stored(it.TextKey) {
			continue
		}
		before := c.w.left
		switch j, _ := q.join(c.w, priorityBulk, it.TextKey, it, ""); {
		case j == nil && q.paused() != nil:
			c.err = q.paused()
			return c
		case j == nil:
			refused(it.ID)
		case c.w.left > before:
			c.jobs, c.ids = append(c.jobs, j), append(c.ids, it.ID)
		}
	}
	return c
}
