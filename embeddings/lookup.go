package embeddings

import (
	"context"
	"errors"
	"strings"

	"relish/ranker"
)

// Lookup fills out with the vectors that are in the cache or the table, nil elsewhere, and returns
// how many items with a text have none. It never waits for the encoder and queues nothing.
func (s *Service) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	var hits, stored int
	for i, it := range items {
		out[i] = nil
		if it == nil || it.TextKey == 0 {
			continue
		}
		vec, fromTable := s.atHand(it.TextKey)
		out[i] = vec
		switch {
		case vec == nil:
			missing++
		case fromTable:
			stored++
		default:
			hits++
		}
	}
	s.count.hits.Add(uint64(hits))
	s.count.tableHits.Add(uint64(stored))
	s.count.misses.Add(uint64(missing))
	return missing
}

// atHand returns the vector at hand for a key, nil if there is none. Callers hold the gate.
func (s *Service) atHand(key uint64) (vec []float32, fromTable bool) {
	if s.closed {
		return nil, false
	}
	if vec, ok := s.cache.Get(key); ok {
		return vec, false
	}
	if s.table == nil || !s.table.Has(key) {
		return nil, false
	}
	vec = make([]float32, s.model.Dim())
	if !s.table.Read(key, vec) {
		return nil, false
	}
	s.cacheVector(key, vec)
	return vec, true
}

func (s *Service) cacheVector(key uint64, vec []float32) {
	if !s.cache.Set(key, vec, s.vectorCost()) {
		s.count.setsLost.Add(1)
	}
}

// Fetch fills out as ranker.Vectors says: what Lookup does not find is encoded ahead of all work
// that no request waits for, until ctx ends; the rest goes to the background queue.
func (s *Service) Fetch(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
	if s.Lookup(items, out) == 0 {
		return
	}
	w := &waiter{done: make(chan struct{})}
	lane := priorityRequest
	if ctx.Err() != nil {
		w, lane = nil, priorityBackground
	}
	flights, at := s.join(w, lane, items, out)
	if w == nil || len(flights) == 0 {
		return
	}
	s.await(ctx, w, flights)
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	for i, f := range flights {
		if f.done {
			out[at[i]] = f.vec
		}
	}
}

// join takes part in a flight for every item that has a text and no vector in out. A vector that
// came to hand since the caller looked goes into out. at holds the flights' places in out.
func (s *Service) join(w *waiter, lane int, items []*ranker.ItemInfo, out [][]float32) (flights []*job, at []int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, it := range items {
		if it == nil || it.TextKey == 0 || out[i] != nil {
			continue
		}
		// A flight ends after its vector is at hand: without one, the second look settles it.
		if q.jobs[it.TextKey] == nil {
			if out[i], _ = s.atHand(it.TextKey); out[i] != nil {
				continue
			}
		}
		if f, _ := q.join(w, lane, it.TextKey, it, ""); f != nil {
			flights = append(flights, f)
			at = append(at, i)
		}
	}
	return flights, at
}

// await waits for all flights of w, or leaves them when ctx ends.
func (s *Service) await(ctx context.Context, w *waiter, flights []*job) {
	select {
	case <-w.done:
	case <-ctx.Done():
		s.queue.abandon(w, flights)
	}
}

// Text returns the vector of a query text, which must not be changed: nil for a text without a
// visible character. It waits for the encoder until ctx ends. The vector is cached, not stored.
func (s *Service) Text(ctx context.Context, text string) ([]float32, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	key := ranker.TextKey(text)
	w := &waiter{done: make(chan struct{})}
	vec, f := s.joinText(w, key, text)
	switch {
	case vec != nil:
		return vec, nil
	case f == nil:
		s.closeLock.RLock()
		defer s.closeLock.RUnlock()
		if s.closed {
			return nil, ErrClosed
		}
		return nil, ErrNotEncoded
	}
	s.await(ctx, w, []*job{f})
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if !f.done || errors.Is(f.err, errGivenUp) {
		return nil, ctx.Err()
	}
	return f.vec, f.err
}

func (s *Service) joinText(w *waiter, key uint64, text string) ([]float32, *job) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if s.queue.jobs[key] == nil {
		if vec, _ := s.atHand(key); vec != nil {
			return vec, nil
		}
	}
	f, _ := s.queue.join(w, priorityRequest, key, nil, text)
	return nil, f
}

// Enqueue has the items' texts encoded in the background, those not at hand and not on their way,
// and returns how many were dropped because the queue is full.
func (s *Service) Enqueue(items []*ranker.ItemInfo) (dropped int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	for _, it := range items {
		if it == nil || it.TextKey == 0 || s.stored(it.TextKey) {
			continue
		}
		s.queue.mu.Lock()
		_, full := s.queue.join(nil, priorityBackground, it.TextKey, it, "")
		s.queue.mu.Unlock()
		if full {
			dropped++
		}
	}
	return dropped
}

// stored reports whether an item's vector is where it belongs: in the table, if there is one. A
// vector that only the cache has (a query had the same text) is put there. Callers hold the gate.
func (s *Service) stored(key uint64) bool {
	if s.closed {
		return false
	}
	if s.table != nil && s.table.Has(key) {
		return true
	}
	vec, ok := s.cache.Get(key)
	if ok && s.writable {
		return s.table.Append([]uint64{key}, [][]float32{vec}) == nil
	}
	return ok
}
