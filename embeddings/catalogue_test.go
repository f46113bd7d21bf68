package embeddings_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"relish/embeddings"
	"relish/ranker"
)

// catalogueOf walks over the items; the first failures walks fail.
func catalogueOf(its []*ranker.ItemInfo, failures int) embeddings.Items {
	return func(context.Context) iter.Seq2[*ranker.ItemInfo, error] {
		return func(yield func(*ranker.ItemInfo, error) bool) {
			if failures > 0 {
				failures--
				yield(nil, errors.New("the disk is gone"))
				return
			}
			each(its)(yield)
		}
	}
}

func newCatalogue(s *embeddings.Service, items embeddings.Items) *embeddings.Catalogue {
	return embeddings.NewCatalogue(s, items, "the text encoder", slog.New(slog.DiscardHandler))
}

// A catalogue waits for 99 of 100 texts, and not for the last one.
func TestCatalogueWaitsForCoverage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{Dir: t.TempDir()})
		its := append(items("a", 200, 8), item(""), nil)
		vectors(s, its[:120])
		c := newCatalogue(s, catalogueOf(its, 2))
		if err := c.Measure(t.Context()); err == nil || !strings.Contains(c.Waiting(), "counted") {
			t.Errorf("items that cannot be read: %v, waiting for %q", err, c.Waiting())
		}
		next := m.step()
		var ready sync.WaitGroup
		ready.Add(1)
		go c.Encode(t.Context(), ready.Done) // tries again after an error
		synctest.Wait()
		if w := c.Waiting(); !strings.Contains(w, "counted") {
			t.Errorf("after another error, it waits for %q", w)
		}
		for range 10 { // 80 texts in runs of 8
			next()
		}
		ready.Wait()
		if w := c.Waiting(); w != "" {
			t.Errorf("all texts are encoded, and it waits for %q", w)
		}

		// What is added later is no reason to wait. A new catalogue does not wait for 1 %.
		more := append(items("b", 2, 8), its[:198]...)
		c = newCatalogue(s, catalogueOf(more, 0))
		if err := c.Measure(t.Context()); err != nil || c.Waiting() != "" {
			t.Errorf("198 of 200 texts: %v, %q", err, c.Waiting())
		}
		fresh := newCatalogue(s, catalogueOf(append(items("c", 1, 8), more...), 0))
		if err := fresh.Measure(t.Context()); err != nil ||
			fresh.Waiting() != "198 of 201 texts encoded by the text encoder" {
			t.Errorf("198 of 201 texts: %v, %q", err, fresh.Waiting())
		}
	})
}

// Texts that the encoder fails on are not waited for once everything else is encoded.
func TestCatalogueWithBadTexts(t *testing.T) {
	s := start(t, newFake(), embeddings.Options{})
	its := append(items("a", 20, 8), items("poison", 20, 12)...)
	c := newCatalogue(s, catalogueOf(its, 0))
	var ready int
	c.Encode(t.Context(), func() { ready++ })
	if ready != 1 || c.Waiting() != "" {
		t.Errorf("ready %d times, waiting for %q", ready, c.Waiting())
	}
}

// A catalogue stops with its service.
func TestCatalogueOfClosedService(t *testing.T) {
	s := start(t, newFake(), embeddings.Options{})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newCatalogue(s, catalogueOf(items("a", 20, 8), 0))
	c.Encode(t.Context(), func() { t.Error("ready without any vector") })
	if c.Waiting() == "" {
		t.Error("a closed service has all vectors")
	}
}

// A service takes the vectors of another folder into its table, or reads them in place if it has
// none that it writes. Either way, it encodes none of them.
func TestImportFrom(t *testing.T) {
	bundled, its := t.TempDir(), items("a", 300, 8)
	trained := start(t, newFake(), embeddings.Options{Dir: bundled})
	vectors(trained, its)
	if err := trained.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, opt := range map[string]embeddings.Options{
		"written":   {Dir: dir},
		"read-only": {Dir: t.TempDir(), ReadOnly: true},
		"in memory": {},
	} {
		m := newFake()
		s := start(t, m, opt)
		if n, err := s.ImportFrom(bundled); n != 300 || err != nil {
			t.Errorf("%s: imported %d vectors, %v", name, n, err)
		}
		m.check(t, its, vectors(s, its))
		if err := s.EncodeAll(t.Context(), each(its), nil); err != nil || len(m.runs()) > 0 {
			t.Errorf("%s: %v, the encoder ran %d times", name, err, len(m.runs()))
		}
		if n, err := s.ImportFrom(t.TempDir()); n != 0 || err != nil {
			t.Errorf("%s: imported %d vectors of an empty folder, %v", name, n, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.ImportFrom(bundled); !errors.Is(err, embeddings.ErrClosed) {
			t.Errorf("%s: import into a closed service: %v", name, err)
		}
	}
	s := start(t, newFake(), embeddings.Options{Dir: dir})
	if n, err := s.ImportFrom(bundled); n != 0 || err != nil {
		t.Errorf("imported %d vectors again, %v", n, err)
	}
}
