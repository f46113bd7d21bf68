package embeddings_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"relish/embeddings"
)

// An encoder that fails on every text is left alone for a while: requests, imports and the
// background end at once, with the reason. When it works again, all texts get vectors.
func TestFailingEncoderIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		runs int // for a batch of 7 texts
	}{
		"an error": {errors.New("device lost"), 1 + 7 + 1},
		"a hang":   {context.DeadlineExceeded, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFailing(t, c.err, c.runs) })
		})
	}
}

func testFailing(t *testing.T, failure error, runs int) {
	m := newFake()
	s := start(t, m, embeddings.Options{Log: slog.New(slog.DiscardHandler)})
	its, more := items("a", 7, 8), items("b", 200, 8)
	m.broken.Store(&failure)
	if n := present(vectors(s, its)); n > 0 || len(m.runs()) != runs {
		t.Errorf("%d vectors after %d runs, want %d", n, len(m.runs()), runs)
	}
	vectors(s, more)
	dropped := s.Enqueue(more)
	_, err := s.Text(t.Context(), "a search")
	all := s.EncodeAll(t.Context(), each(more), nil)
	if len(m.runs()) != runs || dropped != 0 || !errors.Is(err, embeddings.ErrFailing) ||
		!errors.Is(all, embeddings.ErrFailing) || !errors.Is(s.Failing(), failure) {
		t.Errorf("meanwhile %d runs; Text: %v, EncodeAll: %v, Failing: %v",
			len(m.runs())-runs, err, all, s.Failing())
	}
	time.Sleep(time.Minute)
	if err := s.EncodeAll(t.Context(), each(more), nil); !errors.Is(err, embeddings.ErrFailing) ||
		len(m.runs()) == runs {
		t.Errorf("after a minute: %v, and %d more runs", err, len(m.runs())-runs)
	}
	m.broken.Store(nil)
	time.Sleep(time.Minute)
	m.check(t, its, vectors(s, its))
	if err := s.EncodeAll(t.Context(), each(more), nil); err != nil || s.Failing() != nil {
		t.Errorf("once it works again: %v, %v", err, s.Failing())
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A catalogue waits for an encoder that fails, and is encoded when it works again.
func TestCatalogueWaitsForFailingEncoder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{Log: slog.New(slog.DiscardHandler)})
		err := errors.New("device lost")
		m.broken.Store(&err)
		its := items("a", 100, 8)
		c := newCatalogue(s, catalogueOf(its, 0))
		// Not in the instant of a run: its texts would be at fault, since the probe after it works.
		time.AfterFunc(time.Minute+time.Millisecond, func() { m.broken.Store(nil) })
		c.Encode(t.Context(), func() {})
		m.check(t, its, vectors(s, its))
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
