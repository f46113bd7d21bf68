package embeddings

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"relish/ranker"
)

// Text returns the vector of one text, see Texts.
func (s *Service) Text(ctx context.Context, text string) ([]float32, error) {
	vectors, err := s.Texts(ctx, []string{text})
	if err != nil {
		return nil, err
	}
	return vectors[0], nil
}

// Texts returns the vectors of texts that are no items, nil for a text without a token. It waits
// for the encoder until ctx ends. The vectors are shared and must not be changed. They are cached,
// but not stored in the table.
//
// If a text has no vector, Texts fails: with ErrNotEncoded if the text failed recently or if too
// many texts wait, with ErrFailing, with ErrClosed, or with the error of the context or the
// encoder.
func (s *Service) Texts(ctx context.Context, texts []string) ([][]float32, error) {
	vectors := make([][]float32, len(texts))
	w := newWaiter()
	jobs, at, err := s.joinTexts(w, texts, vectors)
	if err != nil {
		s.queue.abandon(w, jobs)
		return nil, err
	}
	if len(jobs) > 0 {
		s.await(ctx, w, jobs)
	}
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	for i, j := range jobs {
		switch {
		case !j.done || errors.Is(j.err, errGivenUp):
			return nil, ctx.Err()
		case errors.Is(j.err, errNoTokens):
			continue
		case j.err != nil:
			return nil, j.err
		}
		vectors[at[i]] = j.vec
	}
	return vectors, nil
}

// joinTexts joins a job for every text that has no vector at hand; at holds their indexes. The
// other vectors go into vectors.
func (s *Service) joinTexts(
	w *waiter, texts []string, vectors [][]float32,
) (jobs []*job, at []int, err error) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, text := range texts {
		text = strings.TrimSpace(text)
		key := ranker.TextKey(text)
		if !ranker.IsVisible(text) || q.tokenless.has(key) {
			continue
		}
		if q.jobs[key] == nil {
			if vectors[i], _ = s.atHand(key); vectors[i] != nil {
				continue
			}
		}
		j, full := q.join(w, priorityRequest, key, nil, text)
		switch {
		case full:
			return jobs, at, fmt.Errorf("%w: too many texts wait for the encoder", ErrNotEncoded)
		case j == nil && q.paused() != nil:
			return jobs, at, q.paused()
		case j == nil:
			return jobs, at, ErrNotEncoded
		}
		jobs, at = append(jobs, j), append(at, i)
	}
	return jobs, at, nil
}
