package embeddings_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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

// Compact removes the vectors of texts that no item has any more. If the items cannot be read, it
// removes none.
func TestCatalogueCompact(t *testing.T) {
	dir, its := t.TempDir(), items("a", 300, 8)
	s := start(t, newFake(), embeddings.Options{Dir: dir})
	vectors(s, its)
	left := its[100:]
	c := newCatalogue(s, catalogueOf(left, 1))
	if n, err := c.Compact(t.Context()); n != 0 || err == nil || s.Stats().Table.Rows != 300 {
		t.Errorf("items that cannot be read: %d removed, %v", n, err)
	}
	for _, want := range []int{100, 0} {
		n, err := c.Compact(t.Context())
		if n != want || err != nil || s.Stats().Table.Rows != 200 {
			t.Errorf("%d removed, %v, want %d", n, err, want)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := newFake()
	s = start(t, m, embeddings.Options{Dir: dir})
	m.check(t, left, vectors(s, left))
	if n := len(m.runs()); n != 0 {
		t.Errorf("%d runs of the encoder for the texts that stayed", n)
	}
	c = newCatalogue(start(t, m, embeddings.Options{}), catalogueOf(left, 0))
	if n, err := c.Compact(t.Context()); n != 0 || err != nil {
		t.Errorf("without a table: %d removed, %v", n, err)
	}
}

// putCounter is a shared cache that has no vectors and counts those it gets.
type putCounter struct{ atomic.Int64 }

func (*putCounter) Get(context.Context, []uint64, [][]float32) {}

func (c *putCounter) Put(_ context.Context, keys []uint64, _ [][]float32) {
	c.Add(int64(len(keys)))
}

// Texts that came with a request are encoded and cached. Neither the table nor the shared cache
// gets their vectors, unless an item of the catalogue has the same text.
func TestTextsOfRequestsAreNotStored(t *testing.T) {
	shared := &putCounter{}
	s := start(t, newFake(), embeddings.Options{Dir: t.TempDir(), Shared: shared})
	its := items("a", 40, 8)
	for _, it := range its {
		it.Transient = true
	}
	before := vectors(s, its)
	if rows := s.Stats().Table.Rows; rows != 0 || shared.Load() != 0 {
		t.Errorf("%d rows in the table, %d vectors in the shared cache", rows, shared.Load())
	}
	s.Enqueue(items("a", 1, 8)) // the text of its[0]
	if err := s.Flush(); err != nil || s.Stats().Table.Rows != 1 {
		t.Errorf("after an item got the text: %v, %d rows", err, s.Stats().Table.Rows)
	}
	if s.Stats().Encodes != uint64(len(its)) || len(before) != len(its) {
		t.Errorf("%d texts were encoded, want each of %d once", s.Stats().Encodes, len(its))
	}
}
