package embeddings_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relish/embeddings"
	"relish/embeddings/vectortable"
	"relish/ranker"
)

func TestMissesAreEncodedOnce(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{})
	its := append(items("a", 50, 8), nil, item(""), item("  "))
	its = append(its, its[0], its[1]) // the same texts again
	for range 2 {
		out := vectors(s, its)
		m.check(t, its[:50], out)
		if out[50] != nil || out[51] != nil || out[52] != nil {
			t.Error("an item without a text has a vector")
		}
		m.check(t, its[53:], out[53:])
	}
	for text, n := range m.texts() {
		if n != 1 {
			t.Errorf("%q was encoded %d times", text, n)
		}
	}
	out := make([][]float32, len(its))
	if missing := s.Lookup(its, out); missing != 0 || present(out) != 52 {
		t.Errorf("Lookup: %d missing, %d present; want 0 and 52", missing, present(out))
	}
	st := s.Stats()
	if st.Encodes != 50 || st.Misses != 52 || st.Hits != 104 || st.Queued != 0 {
		t.Errorf("stats %+v", st)
	}
	if st.CacheBytes <= 50*16*4 || st.CacheBytes > st.CacheLimit {
		t.Errorf("the cache holds %d bytes, its limit is %d", st.CacheBytes, st.CacheLimit)
	}
}

func TestLookupNeitherWaitsNorQueues(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{})
	out := [][]float32{{1}, {1}}
	if missing := s.Lookup([]*ranker.ItemInfo{item("new"), nil}, out); missing != 1 ||
		present(out) != 0 {
		t.Errorf("missing %d, out %v", missing, out)
	}
	if st := s.Stats(); st.Queued != 0 || len(m.runs()) != 0 {
		t.Errorf("Lookup queued work: %+v", st)
	}
}

func TestText(t *testing.T) {
	m := newFake()
	dir := t.TempDir()
	s := start(t, m, embeddings.Options{Dir: dir})
	ctx := context.Background()
	for _, blank := range []string{"", " \t\n"} {
		if v, err := s.Text(ctx, blank); v != nil || err != nil {
			t.Errorf("Text(%q) = %v, %v", blank, v, err)
		}
	}
	for range 2 {
		v, err := s.Text(ctx, " warm soup ")
		if err != nil {
			t.Fatal(err)
		}
		m.check(t, []*ranker.ItemInfo{item("warm soup")}, [][]float32{v})
	}
	if n := m.texts()["warm soup"]; n != 1 {
		t.Errorf("encoded %d times", n)
	}
	if _, err := s.Text(ctx, "poison"); err == nil {
		t.Error("Text of a text that cannot be encoded returned no error")
	}
	if _, err := s.Text(ctx, "poison"); !errors.Is(err, embeddings.ErrNotEncoded) {
		t.Errorf("Text after a recent failure: %v, want ErrNotEncoded", err)
	}
	if rows := s.Stats().Table.Rows; rows != 0 {
		t.Errorf("queries added %d rows to the table", rows)
	}
	// The vector of an item with the same text is stored without another run.
	if s.Enqueue([]*ranker.ItemInfo{item("warm soup")}) != 0 || s.Stats().Table.Rows != 1 {
		t.Error("the item's vector is not in the table")
	}
	if n := m.texts()["warm soup"]; n != 1 {
		t.Errorf("encoded %d times", n)
	}
}

func TestRestartEncodesNothing(t *testing.T) {
	dir := t.TempDir()
	its := items("a", 300, 8)
	m := newFake()
	s := start(t, m, embeddings.Options{Dir: dir})
	var done, encoded int
	progress := func(d, e int) { done, encoded = d, e }
	if err := s.EncodeAll(context.Background(), each(its), progress); err != nil {
		t.Fatal(err)
	}
	if done != 300 || encoded != 300 {
		t.Errorf("progress %d, %d", done, encoded)
	}
	before := vectors(s, its)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}

	m = newFake()
	s = start(t, m, embeddings.Options{Dir: dir})
	out := make([][]float32, len(its))
	if missing := s.Lookup(its, out); missing != 0 {
		t.Errorf("%d vectors are missing after a restart", missing)
	}
	for i := range out {
		if !slices.Equal(out[i], before[i]) {
			t.Fatalf("vector %d has other bits after a restart", i)
		}
	}
	if err := s.EncodeAll(context.Background(), each(its), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(m.runs()); n != 0 {
		t.Errorf("%d runs after a restart", n)
	}
	if st := s.Stats(); st.TableHits != 300 || st.Table.Rows != 300 {
		t.Errorf("stats %+v", st)
	}

	// Only the changed text is encoded again.
	changed := item("a00000 changed")
	m.check(t, []*ranker.ItemInfo{changed}, vectors(s, []*ranker.ItemInfo{changed}))
	if got := m.runs(); len(got) != 1 || len(got[0]) != 1 {
		t.Errorf("runs %v", got)
	}
}

func TestChangedEncoderFindsNoOldVectors(t *testing.T) {
	dir := t.TempDir()
	its := items("a", 20, 8)
	first := newFake()
	s := start(t, first, embeddings.Options{Dir: dir})
	first.check(t, its, vectors(s, its))
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	second := newFake()
	second.digest = strings.Repeat("1e", 32)
	s = start(t, second, embeddings.Options{Dir: dir})
	second.check(t, its, vectors(s, its))
}

func TestReadOnlyBesideWriter(t *testing.T) {
	dir := t.TempDir()
	its := items("a", 10, 8)
	m := newFake()
	s := start(t, m, embeddings.Options{Dir: dir})
	vectors(s, its)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err := embeddings.New(newFake(), embeddings.Options{Dir: dir})
	if !errors.Is(err, vectortable.ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
	other := newFake()
	beside := start(t, other, embeddings.Options{Dir: dir, ReadOnly: true})
	more := append(its, item("another"))
	other.check(t, more, vectors(beside, more))
	if got := other.runs(); len(got) != 1 || len(got[0]) != 1 {
		t.Errorf("the read-only service encoded %v, want only the new text", got)
	}
	if err := beside.EncodeAll(context.Background(), each(more), nil); err != nil {
		t.Error(err)
	}
}

// A vector that the cache evicts is read from the table, not encoded again.
func TestCacheIsBounded(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{Dir: t.TempDir(), CacheBytes: 8 << 10})
	its := items("a", 500, 8)
	for range 3 {
		m.check(t, its, vectors(s, its))
		if st := s.Stats(); st.CacheBytes > 8<<10 {
			t.Fatalf("the cache holds %d bytes, its limit is %d", st.CacheBytes, 8<<10)
		}
	}
	if st := s.Stats(); st.Encodes != 500 {
		t.Errorf("%d texts were encoded, want 500", st.Encodes)
	}
}

func TestFailedTextCostsOthersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		its := append(items("a", 7, 8), item("poison"))
		out := vectors(s, its)
		m.check(t, its[:7], out[:7])
		if out[7] != nil {
			t.Error("the failed text has a vector")
		}
		runs := len(m.runs())
		if runs != 9 { // the batch, then each text alone
			t.Errorf("%d runs, want 9", runs)
		}
		vectors(s, its)
		s.Enqueue(its)
		if n := len(m.runs()); n != runs {
			t.Errorf("a failed text was tried again at once: %d runs, want %d", n, runs)
		}
		if st := s.Stats(); st.Failed != 1 || st.Dropped != 0 {
			t.Errorf("stats %+v", st)
		}
		err := s.EncodeAll(context.Background(), each(its), nil)
		if !errors.Is(err, embeddings.ErrNotEncoded) ||
			!strings.Contains(err.Error(), `1 of 8 items, among them "poison"`) {
			t.Errorf("EncodeAll: %v", err)
		}
		time.Sleep(2 * time.Minute)
		vectors(s, its)
		if n := len(m.runs()); n != runs+2 {
			t.Errorf("%d more runs after two minutes, want 2: batch, text alone", n-runs)
		}
		_ = s.Close(context.Background())
	})
}

// A text in which the encoder finds no token is no text: no caller misses its vector, no import
// fails on it, and it is tokenized once.
func TestTextWithoutTokenIsNoText(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{Dir: t.TempDir()})
	its := append(items("a", 7, 8), item("∅"))
	out := vectors(s, its)
	m.check(t, its[:7], out[:7])
	for _, text := range []string{"∅", "∅ a search", "\u200b\ufe0f"} {
		if v, err := s.Text(t.Context(), text); v != nil || err != nil {
			t.Errorf("Text(%q) = %v, %v", text, v, err)
		}
	}
	if missing := s.Lookup(its, out); missing != 0 || out[7] != nil || s.HasText(its[7]) {
		t.Errorf("Lookup misses %d vectors", missing)
	}
	if err := s.EncodeAll(t.Context(), each(its), nil); err != nil {
		t.Errorf("EncodeAll: %v", err)
	}
	fresh := append(its, item("∅ another item"))
	if err := s.EncodeAll(t.Context(), each(fresh), nil); err != nil {
		t.Errorf("EncodeAll of a new item without a token: %v", err)
	}
	if dropped := s.Enqueue(fresh); dropped != 0 {
		t.Errorf("Enqueue dropped %d texts", dropped)
	}
	c := newCatalogue(s, catalogueOf(fresh, 0))
	if err := c.Measure(t.Context()); err != nil || c.Waiting() != "" {
		t.Errorf("the catalogue waits for %q, %v", c.Waiting(), err)
	}
	if n := m.tokenless.Load(); n != 3 || s.Stats().Failed != 0 {
		t.Errorf("%d texts without a token were tokenized, want 3; stats %+v", n, s.Stats())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	bad := newFake()
	bad.digest = "model"
	for name, f := range map[string]func() (*embeddings.Service, error){
		"no model": func() (*embeddings.Service, error) {
			return embeddings.New(nil, embeddings.Options{})
		},
		"negative cache": func() (*embeddings.Service, error) {
			return embeddings.New(newFake(), embeddings.Options{CacheBytes: -1})
		},
		"negative queue": func() (*embeddings.Service, error) {
			return embeddings.New(newFake(), embeddings.Options{QueueBytes: -1})
		},
		"digest is no SHA-256": func() (*embeddings.Service, error) {
			return embeddings.New(bad, embeddings.Options{Dir: t.TempDir()})
		},
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// EncodeAll ends with the first error of the items, after it has stored the vectors of those
// before. On a closed service it returns ErrClosed.
func TestEncodeAllReturnsReadErrors(t *testing.T) {
	dir := t.TempDir()
	s := start(t, newFake(), embeddings.Options{Dir: dir})
	its, errDisk := items("u", 5, 8), errors.New("disk failure")
	err := s.EncodeAll(t.Context(), func(yield func(*ranker.ItemInfo, error) bool) {
		for _, it := range its {
			if !yield(it, nil) {
				return
			}
		}
		if yield(nil, errDisk) {
			t.Error("EncodeAll goes on after an error")
		}
	}, nil)
	if !errors.Is(err, errDisk) || present(vectors(s, its)) != len(its) ||
		s.Stats().Table.Rows != len(its) {
		t.Errorf("%v, %d rows", err, s.Stats().Table.Rows)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = s.EncodeAll(t.Context(), each(items("v", 3, 8)), nil)
	if !errors.Is(err, embeddings.ErrClosed) {
		t.Errorf("EncodeAll of a closed service: %v, want ErrClosed", err)
	}
}

// panicking is an encoder that panics on texts that contain "panic".
type panicking struct {
	*fake
	tokenizes bool // the tokenizer panics, not the run
}

func (m panicking) Tokenize(dst []int32, text string) []int32 {
	if m.tokenizes && strings.Contains(text, "panic") {
		panic(text)
	}
	return m.fake.Tokenize(dst, text)
}

func (m panicking) Run(ctx context.Context, batch [][]int32, out [][]float32) error {
	for _, ids := range batch {
		text := ""
		for _, id := range ids {
			text += string(id)
		}
		if strings.Contains(text, "panic") {
			panic(text)
		}
	}
	return m.fake.Run(ctx, batch, out)
}

// A panic of the encoder costs the text its vector. Other texts get theirs, and the service goes
// on.
func TestPanickingEncoderFailsItsTextOnly(t *testing.T) {
	for name, tokenizes := range map[string]bool{"tokenizer": true, "run": false} {
		t.Run(name, func(t *testing.T) {
			m := panicking{newFake(), tokenizes}
			s := start(t, m, embeddings.Options{})
			its := append(items("a", 7, 8), item("panic"))
			out := vectors(s, its)
			m.check(t, its[:7], out[:7])
			if out[7] != nil || s.Stats().Failed != 1 {
				t.Errorf("the text has a vector, or stats %+v", s.Stats())
			}
			if _, err := s.Text(context.Background(), "another"); err != nil {
				t.Errorf("Text after the panic: %v", err)
			}
		})
	}
}
