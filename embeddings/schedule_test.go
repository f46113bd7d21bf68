package embeddings_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/embeddings"
	"relish/ranker"
)

// inBubble runs a test with fake time. There settled can tell that all goroutines wait, so that no
// test sleeps and hopes.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// settled waits until all goroutines of the bubble are blocked, and checks the condition then.
func settled(t *testing.T, what string, cond func() bool) {
	t.Helper()
	synctest.Wait()
	if !cond() {
		t.Fatalf("not true once all goroutines are blocked: %s", what)
	}
}

// occupy keeps the encoder busy with one text, so that later texts queue up.
func occupy(t *testing.T, m *fake, s *embeddings.Service) (release func()) {
	t.Helper()
	for len(m.started) > 0 { // earlier runs
		<-m.started
	}
	release = m.hold()
	t.Cleanup(release)
	s.Enqueue([]*ranker.ItemInfo{item("occupied")})
	<-m.started
	return release
}

func TestRequestsShareBatches(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake() // 8 rows of 16 tokens a run
		s := start(t, m, embeddings.Options{})
		release := occupy(t, m, s)
		its := items("a", 100, 8)
		var wg sync.WaitGroup
		const requests = 10
		for r := range requests {
			wg.Go(func() { // each needs ten own texts and ten of the next request
				part := slices.Concat(its[r*10:r*10+10], its[(r+1)%requests*10:][:10])
				m.check(t, part, vectors(s, part))
			})
		}
		settled(t, "all texts are queued",
			func() bool { return s.Stats().Queued == 101 && s.Stats().Misses == 200 })
		release()
		wg.Wait()
		if runs := len(m.runs()) - 1; runs != (100+7)/8 {
			t.Errorf("%d runs for 100 texts, want 13 in batches of 8", runs)
		}
		for text, n := range m.texts() {
			if n != 1 {
				t.Errorf("%q was encoded %d times", text, n)
			}
		}
	})
}

func TestSimilarLengthsShareBatches(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{})
	its := slices.Concat(items("s", 64, 10), items("m", 32, 60), items("l", 16, 120))
	rand.New(rand.NewPCG(1, 1)).
		Shuffle(len(its), func(i, j int) { its[i], its[j] = its[j], its[i] })
	m.check(t, its, vectors(s, its))
	for _, b := range m.runs() {
		for _, text := range b {
			if m.Bucket(len(text)) != m.Bucket(len(b[0])) {
				t.Fatalf("texts of %d and %d tokens share a batch", len(text), len(b[0]))
			}
		}
		if tokens := len(b) * m.Bucket(len(b[0])); tokens > m.batchTokens {
			t.Errorf("a batch of %d tokens, the limit is %d", tokens, m.batchTokens)
		}
	}
	// 8 rows of 16 tokens, 2 of 64, 1 of 128.
	if n := len(m.runs()); n != 64/8+32/2+16 {
		t.Errorf("%d runs, want 40", n)
	}
	st := s.Stats()
	if st.RealTokens != 64*10+32*60+16*120 || st.PaddedTokens != 64*16+32*64+16*128 {
		t.Errorf("%d real tokens, %d padded", st.RealTokens, st.PaddedTokens)
	}
}

func TestDeadlineReturnsWhatIsReady(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		warm, cold := items("w", 5, 8), items("c", 20, 8)
		vectors(s, warm)
		release := occupy(t, m, s)

		ctx, cancel := context.WithCancel(context.Background())
		its := slices.Concat(warm, cold)
		out := make([][]float32, len(its))
		returned := make(chan struct{})
		go func() {
			s.Fetch(ctx, its, out)
			close(returned)
		}()
		settled(t, "the texts are queued", func() bool { return s.Stats().Queued == 21 })
		cancel()
		<-returned // while the encoder is still held
		m.check(t, warm, out[:5])
		if present(out[5:]) != 0 {
			t.Error("Fetch returned vectors that were not encoded")
		}
		if st := s.Stats(); st.Abandoned != 20 {
			t.Errorf("stats %+v", st)
		}
		// Those that a worker is tokenizing arrive a moment later.
		settled(t, "the texts wait in the background",
			func() bool { return s.Stats().Background == 20 })
		release() // now they are encoded in the background
		if err := s.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if missing := s.Lookup(its, out); missing != 0 {
			t.Errorf("%d vectors are still missing", missing)
		}
		m.check(t, its, out)
	})
}

func TestEndedContextOnlyQueues(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	its := items("a", 10, 8)
	out := make([][]float32, 10)
	s.Fetch(ctx, its, out)
	if present(out) != 0 {
		t.Error("Fetch waited although its context had ended")
	}
	if err := s.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.check(t, its, vectors(s, its))
}

func TestFirstCallerGivesUpOthersWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		release := occupy(t, m, s)
		its := items("a", 10, 8)
		ctx, cancel := context.WithCancel(context.Background())
		var first, second sync.WaitGroup
		first.Go(func() { s.Fetch(ctx, its, make([][]float32, 10)) })
		settled(t, "the first caller's texts are queued",
			func() bool { return s.Stats().Misses == 10 && s.Stats().Queued == 11 })
		second.Go(func() { m.check(t, its, vectors(s, its)) })
		settled(t, "the second caller has joined the jobs",
			func() bool { return s.Stats().Misses == 20 })
		cancel()
		first.Wait()
		release()
		second.Wait()
		if n := len(m.texts()); n != 11 {
			t.Errorf("%d texts encoded, want 11", n)
		}
		for text, n := range m.texts() {
			if n != 1 {
				t.Errorf("%q was encoded %d times", text, n)
			}
		}
	})
}

func TestAbandonedQueryIsNotEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		release := occupy(t, m, s)
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error)
		go func() {
			_, err := s.Text(ctx, "query")
			failed <- err
		}()
		settled(t, "the query is queued", func() bool { return s.Stats().Queued == 2 })
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		release()
		if err := s.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if m.texts()["query"] != 0 {
			t.Error("a query was encoded although nobody waits for it")
		}
	})
}

func TestBackgroundIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{QueueBytes: 50 * 520})
		release := occupy(t, m, s)
		its := items("a", 400, 8)
		// A worker may have taken up to the lookahead of texts off the list.
		dropped := s.Enqueue(its)
		if dropped < 400-50-144 || dropped > 350 {
			t.Errorf("%d of 400 texts dropped, want about 350: the limit is 50", dropped)
		}
		if again := s.Enqueue(its[:10]); again != 0 {
			t.Errorf("%d texts were dropped although they have a job", again)
		}
		if st := s.Stats(); st.Dropped != uint64(dropped) || st.Queued != 401-dropped {
			t.Errorf("stats %+v", st)
		}
		// Texts of callers that gave up do not exceed the limit either.
		for i := range 5 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			its := items(string(rune('b'+i)), 300, 8)
			s.Fetch(ctx, its, make([][]float32, len(its)))
			cancel()
		}
		if st := s.Stats(); st.Background > 50+144 {
			t.Errorf("%d texts wait in the background, the limit is 50", st.Background)
		}
		release()
		if err := s.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// A request waits for a bounded number of texts. Those of the catalogue above that are encoded in
// the background, inline ones are not.
func TestFreshTextsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{MaxFresh: 10})
		catalogue, inline := items("a", 30, 8), items("b", 30, 8)
		for _, it := range inline {
			it.Transient = true
		}
		for name, its := range map[string][]*ranker.ItemInfo{
			"catalogue": catalogue, "inline": inline,
		} {
			out := make([][]float32, len(its))
			s.Fetch(context.Background(), its, out)
			found := 0
			for i := range out {
				if out[i] != nil {
					found++
				}
			}
			if found != 10 || out[9] == nil {
				t.Errorf("%s: waited for %d of 30 texts, want the first 10", name, found)
			}
		}
		if err := s.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		missing := s.Lookup(catalogue, make([][]float32, 30))
		if n := s.Lookup(inline, make([][]float32, 30)); n != 20 || missing != 0 {
			t.Errorf("in the background %d inline texts were encoded and %d of the catalogue not",
				20-n, missing)
		}
		if st := s.Stats(); st.Deferred != 40 {
			t.Errorf("%d texts were deferred, want 40", st.Deferred)
		}
	})
}

// The texts that requests wait for are bounded by their bytes.
func TestRequestedTextsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{QueueBytes: 1 << 20})
		release := occupy(t, m, s)
		texts := make([]string, 1000)
		for i := range texts {
			texts[i] = fmt.Sprintf("%04d%s", i, strings.Repeat("x", 4<<10))
		}
		_, err := s.Texts(context.Background(), texts)
		if !errors.Is(err, embeddings.ErrNotEncoded) {
			t.Errorf("4 MiB of texts wait where 1 MiB may: %v", err)
		}
		if st := s.Stats(); st.Dropped != 1 || st.Queued > 20 {
			t.Errorf("after the refusal: %+v", st)
		}
		release()
	})
}

func TestEncodeAllStops(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		release := occupy(t, m, s)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		endless := func(yield func(*ranker.ItemInfo, error) bool) {
			for i := 0; ; i++ {
				if i == 700 {
					cancel()
				}
				if !yield(items("e", 1, 8)[0], nil) {
					return
				}
			}
		}
		if err := s.EncodeAll(ctx, endless, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		ctx, cancel = context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		if err := s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain while the encoder is held: %v, want a deadline error", err)
		}
		release()
	})
}

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{Dir: t.TempDir()})
		release := m.hold() // not released before the end: Close must cancel the run
		t.Cleanup(release)
		its := items("a", 40, 8)
		out := make([][]float32, 40)
		var wg sync.WaitGroup
		wg.Go(func() { s.Fetch(context.Background(), its, out) })
		wg.Go(func() {
			err := s.EncodeAll(context.Background(), each(items("b", 40, 8)), nil)
			if !errors.Is(err, embeddings.ErrClosed) {
				t.Errorf("EncodeAll while closing: %v, want ErrClosed", err)
			}
		})
		settled(t, "all is queued", func() bool { return s.Stats().Queued == 80 })
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if present(out) != 0 {
			t.Error("a cancelled run returned vectors")
		}
		if s.Close(context.Background()) != nil || s.Enqueue(its) != 0 || s.Lookup(its, out) != 40 {
			t.Error("a closed service queues texts or finds vectors")
		}
		if present(vectors(s, its)) != 0 || s.Stats().Queued != 0 {
			t.Error("a closed service accepts work")
		}
		if _, err := s.Text(context.Background(), "late"); !errors.Is(err, embeddings.ErrClosed) {
			t.Errorf("Text of a closed service: %v, want ErrClosed", err)
		}
	})
}

// All methods run at the same time, for the race detector.
func TestConcurrentUse(t *testing.T) {
	m := newFake()
	m.parallel, m.mixes = 3, true
	s := start(t, m,
		embeddings.Options{Dir: t.TempDir(), CacheBytes: 64 << 10, QueueBytes: 100 * 520})
	pool := slices.Concat(items("a", 200, 8), items("b", 100, 40), items("poison", 3, 12))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for i := range 30 {
				ctx, cancel := context.WithTimeout(context.Background(),
					time.Duration(r.IntN(2000))*time.Microsecond)
				at := r.IntN(len(pool) - 40)
				part := pool[at : at+40]
				switch out := make([][]float32, 40); i % 6 {
				case 0:
					s.Enqueue(part)
				case 1:
					_, _ = s.Text(ctx, part[0].Body())
				case 2:
					c := newCatalogue(s, catalogueOf(pool[:150], 0))
					if _, err := c.Compact(ctx); err != nil {
						t.Error(err)
					}
				case 3:
					_ = s.EncodeAll(ctx, each(part), nil)
				default:
					s.Fetch(ctx, part, out)
					for j, it := range part {
						if out[j] != nil {
							m.check(t, part[j:j+1], out[j:j+1])
						} else if it.TextKey == 0 {
							t.Error("an item without a text")
						}
					}
					_ = s.Stats()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := s.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	good := pool[:300]
	m.check(t, good, vectors(s, good))
}

// Once an encoder has moved to another device, batches have the size that this device wants.
func TestBatchesFollowTheDevice(t *testing.T) {
	m := newFake()
	s := start(t, m, embeddings.Options{})
	for want, prefix := range map[int]string{8: "a", 2: "b"} {
		m.moved.Store(want == 2)
		before := len(m.runs())
		its := items(prefix, 40, 8)
		m.check(t, its, vectors(s, its))
		for _, b := range m.runs()[before:] {
			if len(b) > want {
				t.Errorf("a batch of %d texts, want at most %d", len(b), want)
			}
		}
	}
}
