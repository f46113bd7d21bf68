package embeddings

import (
	"context"

	"relish/embeddings/vectortable"
	"relish/ranker"
)

// Lookup sets out[i] to the vector of items[i] if it is in the cache or the table, otherwise to
// nil. It returns how many items with a text have no vector. It neither waits for the encoder nor
// queues work.
func (s *Service) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	var cached, stored int
	for i, it := range items {
		out[i] = nil
		if it == nil || it.TextKey == 0 {
			continue
		}
		vec, fromTable := s.atHand(it.TextKey)
		out[i] = vec
		switch {
		case vec == nil:
			if s.HasText(it) {
				missing++
			}
		case fromTable:
			stored++
		default:
			cached++
		}
	}
	s.count.hits.Add(uint64(cached))
	s.count.tableHits.Add(uint64(stored))
	s.count.misses.Add(uint64(missing))
	return missing
}

// atHand returns the vector of a key from memory or the table, nil if neither has it. Callers hold
// closeLock.
func (s *Service) atHand(key uint64) (vec []float32, fromTable bool) {
	if s.closed {
		return nil, false
	}
	if vec := s.recent.get(key); vec != nil {
		return vec, false
	}
	if vec, ok := s.cache.Get(key); ok {
		s.recent.put(key, vec)
		return vec, false
	}
	t := s.tableOf(key)
	if t == nil {
		return nil, false
	}
	vec = make([]float32, s.model.Dim())
	if !t.Read(key, vec) {
		return nil, false
	}
	s.cacheVector(key, vec)
	return vec, true
}

// tableOf returns a table that has the vector of a key, nil if none has. Callers hold closeLock.
func (s *Service) tableOf(key uint64) *vectortable.Table {
	for _, t := range s.tables {
		if t.Has(key) {
			return t
		}
	}
	return nil
}

func (s *Service) cacheVector(key uint64, vec []float32) {
	if !s.cache.Set(key, vec, s.vectorCost()) {
		s.count.setsLost.Add(1)
	}
}

// Fetch implements [ranker.Vectors]. It encodes what Lookup does not find, before all work that no
// request waits for, until ctx ends. What is left then is encoded in the background. One call waits
// for Options.MaxFresh texts at most, so that a request cannot keep the encoder from the others.
func (s *Service) Fetch(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
	if s.Lookup(items, out) == 0 {
		return
	}
	w := newWaiter()
	priority := priorityRequest
	if ctx.Err() != nil {
		w, priority = nil, priorityBackground
	}
	jobs, at := s.join(w, priority, items, out)
	if w == nil || len(jobs) == 0 {
		return
	}
	s.await(ctx, w, jobs)
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	for i, j := range jobs {
		if j.done {
			out[at[i]] = j.vec
		}
	}
}

// join joins a job for every item that has a text and no vector in out. A vector that has become
// available meanwhile goes into out. at holds the jobs' indexes in out. Catalogue items above
// maxFresh go to the background, and others nowhere.
func (s *Service) join(
	w *waiter, priority int, items []*ranker.ItemInfo, out [][]float32,
) (jobs []*job, at []int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, it := range items {
		if out[i] != nil || !s.HasText(it) {
			continue
		}
		// A job ends after its vector is in the cache. If there is no job, a second look is
		// certain.
		if q.jobs[it.TextKey] == nil {
			if out[i], _ = s.atHand(it.TextKey); out[i] != nil {
				continue
			}
		}
		if s.maxFresh > 0 && len(jobs) == s.maxFresh {
			s.count.deferred.Add(1)
			if !it.Transient {
				q.join(nil, priorityBackground, it.TextKey, it, "")
			}
			continue
		}
		if j, _ := q.join(w, priority, it.TextKey, it, ""); j != nil {
			jobs = append(jobs, j)
			at = append(at, i)
		}
	}
	return jobs, at
}

// await waits for all jobs of w, or abandons them when ctx ends.
func (s *Service) await(ctx context.Context, w *waiter, jobs []*job) {
	select {
	case <-w.done:
	case <-ctx.Done():
		s.queue.abandon(w, jobs)
	}
}

// HasText implements [ranker.Vectors]: a text in which the tokenizer finds no token is no text.
func (s *Service) HasText(it *ranker.ItemInfo) bool {
	return it != nil && it.TextKey != 0 && !s.queue.tokenless.has(it.TextKey)
}

// Enqueue has the items' texts encoded in the background, except those that are stored or on their
// way. It returns how many were dropped because the queue is full.
func (s *Service) Enqueue(items []*ranker.ItemInfo) (dropped int) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	for _, it := range items {
		if !s.HasText(it) || s.stored(it.TextKey) {
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

// has reports whether a key has a vector in a table or the cache.
func (s *Service) has(key uint64) bool {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if s.closed {
		return false
	}
	_, cached := s.cache.Get(key)
	return cached || s.tableOf(key) != nil
}

// stored reports whether an item's vector is stored: in a table, or in the cache if there is no
// table. A vector that only the cache has, because a query had the same text, is added to the
// table. Callers hold closeLock.
func (s *Service) stored(key uint64) bool {
	if s.closed {
		return false
	}
	if s.tableOf(key) != nil {
		return true
	}
	vec, ok := s.cache.Get(key)
	if ok && s.writable {
		return s.table.Append([]uint64{key}, [][]float32{vec}) == nil
	}
	return ok
}
