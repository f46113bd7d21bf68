package embeddings

import (
	"context"
	"errors"
	"slices"

	"relish/embeddings/vectortable"
	"relish/internal/parallel"
)

// worker tokenizes and runs what the queue gives it, until the queue is closed.
func (s *Service) worker() {
	var tokens []int32
	for {
		t, ok := s.queue.next()
		switch {
		case !ok:
			return
		case t.run:
			s.encodeOrFail(t.jobs)
			s.queue.runDone(t)
		default:
			for _, j := range t.jobs {
				tokens = s.tokenize(j, tokens)
			}
			s.queue.tokenizeDone(t)
		}
	}
}

// tokenize sets the tokens of one job. If the tokenizer panics, the job has an error in their
// place. It returns buf, which it overwrites, or a larger one: a job keeps a copy of its tokens, so
// that it takes no more memory than it needs.
func (s *Service) tokenize(j *job, buf []int32) []int32 {
	j.err = parallel.Catch(func() error {
		buf = s.model.Tokenize(buf[:0], j.body())
		j.tokens = slices.Clone(buf)
		return nil
	})
	if j.err != nil {
		j.tokens = nil
		s.count.failed.Add(1)
		s.log.Error("the tokenizer failed on a text, which is ranked without it", "error", j.err)
	}
	return buf
}

// encodeOrFail is encodeBatch. If that panics, the jobs have an error in place of a vector.
func (s *Service) encodeOrFail(jobs []*job) {
	err := parallel.Catch(func() error {
		s.encodeBatch(jobs)
		return nil
	})
	if err == nil {
		return
	}
	s.log.Error("a batch of texts was not encoded", "texts", len(jobs), "error", err)
	for _, j := range jobs {
		j.vec, j.err = nil, err
	}
	s.count.failed.Add(uint64(len(jobs)))
}

// encodeBatch sets the vectors or errors of one batch. Vectors come from the shared cache if it
// has them, otherwise from the encoder. They go to the cache. Those of catalogue items also go to
// the table and the shared cache.
func (s *Service) encodeBatch(jobs []*job) {
	missing := s.fetchShared(jobs)
	if len(missing) > 0 && !s.encodeMissing(missing) {
		for _, j := range jobs {
			j.vec, j.err = nil, ErrClosed
		}
		return
	}
	s.offerShared(missing)
	keys := make([]uint64, 0, len(jobs))
	vecs := make([][]float32, 0, len(jobs))
	s.queue.mu.Lock()
	for _, j := range jobs {
		if j.err == nil && j.store {
			keys = append(keys, j.key)
			vecs = append(vecs, j.vec)
		}
	}
	s.queue.mu.Unlock()
	if s.writable {
		if err := s.table.Append(keys, vecs); err != nil {
			s.log.Warn("vectors could not be written to the vector table; they stay in memory only",
				"vectors", len(vecs), "error", err)
		}
	}
	for _, j := range jobs {
		if j.err == nil {
			s.cacheVector(j.key, j.vec)
		}
	}
	// The cache stores in the background, but once a job has ended, its vector must be found.
	s.cache.Wait()
}

// encodeMissing runs the encoder. If a batch fails, each of its texts is tried once alone, so that
// one bad text costs the others nothing; after a run that took too long, that would take far too
// long. It returns false if the service is closing.
func (s *Service) encodeMissing(jobs []*job) bool {
	err := s.runModel(jobs)
	if err != nil && s.ctx.Err() != nil {
		return false
	}
	if err == nil {
		s.queue.works()
		return true
	}
	failed := 0
	for i, j := range jobs {
		j.err = err
		if len(jobs) > 1 && !errors.Is(err, context.DeadlineExceeded) {
			j.err = s.runModel(jobs[i : i+1])
		}
		if j.err != nil {
			j.vec = nil
			failed++
		}
	}
	s.count.failed.Add(uint64(failed))
	s.log.Warn("the encoder failed on a batch", "texts", len(jobs), "failed_alone_too", failed,
		"error", err)
	if failed < len(jobs) {
		s.queue.works()
	} else if err := s.checkEncoder(err); err != nil {
		for _, j := range jobs {
			j.err = err
		}
	}
	return true
}

// fetchShared sets the vectors that the shared cache has, and returns the other jobs.
func (s *Service) fetchShared(jobs []*job) (missing []*job) {
	if s.shared == nil {
		return jobs
	}
	keys, vecs := make([]uint64, len(jobs)), make([][]float32, len(jobs))
	for i, j := range jobs {
		keys[i] = j.key
	}
	s.shared.Get(s.ctx, keys, vecs)
	for i, j := range jobs {
		if vecs[i] == nil {
			missing = append(missing, j)
			continue
		}
		j.vec = vecs[i]
		s.count.sharedHits.Add(1)
	}
	return missing
}

// offerShared puts new vectors of catalogue items into the shared cache. A text that came with a
// request may be personal.
func (s *Service) offerShared(jobs []*job) {
	if s.shared == nil {
		return
	}
	var keys []uint64
	var vecs [][]float32
	s.queue.mu.Lock()
	for _, j := range jobs {
		if j.err == nil && j.store {
			keys, vecs = append(keys, j.key), append(vecs, j.vec)
		}
	}
	s.queue.mu.Unlock()
	if len(keys) > 0 {
		s.shared.Put(s.ctx, keys, vecs)
	}
}

// runModel encodes the jobs' tokens in one run.
func (s *Service) runModel(jobs []*job) error {
	batch := make([][]int32, len(jobs))
	out := make([][]float32, len(jobs))
	longest, tokens := 0, 0
	for i, j := range jobs {
		batch[i] = j.tokens
		out[i] = make([]float32, s.model.Dim()) // one by one, because the cache evicts them so
		longest = max(longest, len(j.tokens))
		tokens += len(j.tokens)
	}
	s.count.runs.Add(1)
	s.count.real.Add(uint64(tokens))
	s.count.padded.Add(uint64(len(jobs) * s.model.Bucket(longest)))
	err := parallel.Catch(func() error { return s.model.Run(s.ctx, batch, out) })
	if err != nil {
		return err
	}
	for i, j := range jobs {
		vectortable.RoundToFloat16(out[i])
		j.vec = out[i]
	}
	s.count.encodes.Add(uint64(len(jobs)))
	return nil
}
