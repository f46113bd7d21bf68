package embeddings

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"relish/embeddings/vectortable"
	"relish/ranker"
)

// worker is one worker: it tokenizes and runs what the queue gives it, until the queue is closed.
func (s *Service) worker() {
	for {
		t, ok := s.queue.next()
		switch {
		case !ok:
			return
		case t.run:
			s.encodeBatch(t.jobs)
			s.queue.runDone(t)
		default:
			for _, f := range t.jobs {
				f.tokens = s.model.Tokenize(nil, f.body())
			}
			s.queue.tokenizeDone(t)
		}
	}
}

// encodeBatch fills in the vectors of one batch, those that the shared level has from there, and puts them into
// cache and table.
func (s *Service) encodeBatch(fs []*job) {
	fresh := s.fetchShared(fs)
	if len(fresh) > 0 && !s.encodeMissing(fresh) {
		for _, f := range fs {
			f.vec, f.err = nil, ErrClosed
		}
		return
	}
	s.offerShared(fresh)
	keys := make([]uint64, 0, len(fs))
	vecs := make([][]float32, 0, len(fs))
	s.queue.mu.Lock()
	for _, f := range fs {
		if f.err == nil && f.keep {
			keys = append(keys, f.key)
			vecs = append(vecs, f.vec)
		}
	}
	s.queue.mu.Unlock()
	if s.writable {
		if err := s.table.Append(keys, vecs); err != nil {
			s.log.Warn("vectors stay in memory only", "error", err)
		}
	}
	for _, f := range fs {
		if f.err == nil {
			s.cacheVector(f.key, f.vec)
		}
	}
	s.cache.Wait() // sets are asynchronous; after its flight ends, a text must be found
}

// encodeMissing runs the encoder. When the batch fails, each text gets one try alone, so that one bad text costs its
// neighbours nothing. It returns false when the service is closing.
func (s *Service) encodeMissing(fs []*job) bool {
	err := s.runModel(fs)
	if err != nil && s.ctx.Err() != nil {
		return false
	}
	if err == nil {
		return true
	}
	for i, f := range fs {
		if f.err = s.runModel(fs[i : i+1]); f.err != nil {
			f.vec = nil
			s.count.failed.Add(1)
		}
	}
	s.log.Warn("encoder failed on a batch, its texts were tried one by one", "texts", len(fs), "error", err)
	return true
}

// fetchShared takes what the shared level has and returns the flights that are left.
func (s *Service) fetchShared(fs []*job) (left []*job) {
	if s.shared == nil {
		return fs
	}
	keys, vecs := make([]uint64, len(fs)), make([][]float32, len(fs))
	for i, f := range fs {
		keys[i] = f.key
	}
	s.shared.Get(s.ctx, keys, vecs)
	for i, f := range fs {
		if vecs[i] == nil {
			left = append(left, f)
			continue
		}
		f.vec = vecs[i]
		s.count.sharedHits.Add(1)
	}
	return left
}

// offerShared gives the shared level what the encoder made of items' texts; queries are of no use to others.
func (s *Service) offerShared(fs []*job) {
	if s.shared == nil {
		return
	}
	var keys []uint64
	var vecs [][]float32
	for _, f := range fs {
		if f.err == nil && f.item != nil {
			keys, vecs = append(keys, f.key), append(vecs, f.vec)
		}
	}
	if len(keys) > 0 {
		s.shared.Put(s.ctx, keys, vecs)
	}
}

// runModel is one forward pass over the flights' tokens.
func (s *Service) runModel(fs []*job) error {
	batch := make([][]int32, len(fs))
	out := make([][]float32, len(fs))
	longest, tokens := 0, 0
	for i, f := range fs {
		batch[i] = f.tokens
		out[i] = make([]float32, s.model.Dim()) // each its own: they live and die alone in the cache
		longest = max(longest, len(f.tokens))
		tokens += len(f.tokens)
	}
	s.count.runs.Add(1)
	s.count.real.Add(uint64(tokens))
	s.count.padded.Add(uint64(len(fs) * s.model.Bucket(longest)))
	if err := s.model.Run(s.ctx, batch, out); err != nil {
		return err
	}
	for i, f := range fs {
		vectortable.RoundToFloat16(out[i])
		f.vec = out[i]
	}
	s.count.encodes.Add(uint64(len(fs)))
	return nil
}

// bulkChunkSize is how many texts EncodeAll hands over at a time; two chunks are under way at once.
const bulkChunkSize = 512

// chunk is a part of EncodeAll's items.
type chunk struct {
	w     *waiter
	jobs  []*job
	items int
}

// EncodeAll encodes the items' texts that have no vector yet and returns when all are durable in the
// table. Requests go first. progress (nil is fine) is called from the caller's goroutine with the
// items seen to so far and the texts encoded among them. When the encoder fails on some texts the
// rest is encoded all the same and the error is ErrNotEncoded with their number. An error among the items
// ends them: what came before is encoded, and that error is returned.
func (s *Service) EncodeAll(ctx context.Context, items iter.Seq2[*ranker.ItemInfo, error], progress func(done, encoded int)) error {
	var done, encoded, failed int
	var unread error
	var before *chunk
	settle := func(c *chunk) error {
		if c == nil {
			return nil
		}
		if len(c.jobs) > 0 {
			s.await(ctx, c.w, c.jobs)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, f := range c.jobs {
			switch {
			case f.vec != nil:
				encoded++
			case errors.Is(f.err, ErrClosed):
				return ErrClosed
			default:
				failed++
			}
		}
		done += c.items
		if progress != nil {
			progress(done, encoded)
		}
		return nil
	}
	part := make([]*ranker.ItemInfo, 0, bulkChunkSize)
	hand := func() error {
		c, refused := s.submitBulk(part)
		failed += refused
		part = part[:0]
		err := settle(before)
		if err != nil {
			s.queue.abandon(c.w, c.jobs)
		}
		before = c
		return err
	}
	for it, err := range items {
		if unread = err; err != nil {
			break
		}
		if part = append(part, it); len(part) == bulkChunkSize {
			if err := hand(); err != nil {
				return err
			}
		}
	}
	if err := hand(); err != nil {
		return err
	}
	if err := settle(before); err != nil {
		return err
	}
	if err := s.Flush(); err != nil {
		return err
	}
	if unread != nil {
		return unread
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d items; they are ranked without their text", ErrNotEncoded, failed, done)
	}
	return nil
}

// submitBulk hands over the texts of a chunk that are not stored yet, each once. refused counts those that
// failed lately.
func (s *Service) submitBulk(items []*ranker.ItemInfo) (c *chunk, refused int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	c = &chunk{w: &waiter{done: make(chan struct{})}, items: len(items)}
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		if it == nil || it.TextKey == 0 || q.jobs[it.TextKey] == nil && s.stored(it.TextKey) {
			continue
		}
		before := c.w.left
		switch f, _ := q.join(c.w, priorityBulk, it.TextKey, it, ""); {
		case f == nil:
			refused++
		case c.w.left > before:
			c.jobs = append(c.jobs, f)
		}
	}
	return c, refused
}
