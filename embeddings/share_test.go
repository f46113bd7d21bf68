package embeddings_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"relish/embeddings"
	"relish/ranker"
)

// stepRun lets the run under way end, and waits until all goroutines are blocked again: the next
// run has started, and everything that workers tokenize ahead is tokenized.
func stepRun(next func()) {
	synctest.Wait()
	next()
	synctest.Wait()
}

// source returns which of the prefixes the texts of a run have: all of them the same one.
func source(t *testing.T, batch []string, prefixes ...string) string {
	t.Helper()
	for _, p := range prefixes {
		if !strings.HasPrefix(batch[0], p) {
			continue
		}
		for _, text := range batch {
			if !strings.HasPrefix(text, p) {
				t.Fatalf("a run has %q and %q", batch[0], text)
			}
		}
		return p
	}
	t.Fatalf("a run has %q, want one of %q", batch, prefixes)
	return ""
}

// Higher priorities go first, and leave a share of the runs to the lower ones.
func TestPriorities(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake() // 8 texts of 16 tokens a run
		s := start(t, m, embeddings.Options{})
		next := m.step()
		background, bulk := items("background", 32, 16), items("bulk", 32, 16)
		asked := append(items("asked", 47, 16), item("askedtoo"))
		s.Enqueue([]*ranker.ItemInfo{item("occupied")})
		synctest.Wait()       // the encoder has this text while the others queue up
		s.Enqueue(asked[47:]) // in the background at first
		var wg sync.WaitGroup
		wg.Go(func() { m.check(t, asked, vectors(s, asked)) })
		wg.Go(func() {
			if err := s.EncodeAll(context.Background(), each(bulk), nil); err != nil {
				t.Error(err)
			}
		})
		s.Enqueue(background)
		settled(t, "everything is queued", func() bool { return s.Stats().Queued == 113 })
		for s.Stats().Queued > 0 {
			stepRun(next)
		}
		wg.Wait()
		var order string
		for _, b := range m.runs()[1:] {
			order += source(t, b, "asked", "bulk", "background")[:2]
		}
		// Of requests, bulk and background, each has a run after three that passed it over.
		if want := "asasas" + "buba" + "asasas" + "buba" + "bubu" + "baba"; order != want {
			t.Errorf("the runs are of %s, want %s", order, want)
		}
	})
}

// coldRequests has four clients fetch 16 new texts in every request, until stop is called. stop
// lets the encoder run what is left.
func coldRequests(t *testing.T, s *embeddings.Service, next func()) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				its := items(fmt.Sprintf("asked%d-%d-", client, i), 16, 16)
				s.Fetch(ctx, its, make([][]float32, 16))
			}
		})
	}
	settled(t, "requests wait", func() bool { return s.Stats().Queued == 64 })
	return func() {
		cancel()
		for s.Stats().Queued > 0 {
			stepRun(next)
		}
		wg.Wait()
	}
}

// The background encodes a quarter of the batches although requests always wait for cold texts.
func TestRequestsDoNotStarveTheBackground(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		next := m.step()
		stop := coldRequests(t, s, next)
		its := items("background", 80, 16)
		s.Enqueue(its)
		const runs = 42 // three of requests for each of the ten that the background needs, and two
		for range runs {
			stepRun(next)
		}
		if missing := s.Lookup(its, make([][]float32, 80)); missing != 0 {
			t.Errorf("after %d runs, %d of 80 background texts are not encoded", runs, missing)
		}
		asked := 0
		for _, b := range m.runs() {
			if source(t, b, "asked", "background") == "asked" {
				asked++
			}
		}
		if asked < 3*10 {
			t.Errorf("%d of %d runs are of requests, want three quarters", asked, runs)
		}
		stop()
	})
}

// An import goes on under the same load, and ends.
func TestRequestsDoNotStarveAnImport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		next := m.step()
		stop := coldRequests(t, s, next)
		imported := make(chan error, 1)
		go func() {
			imported <- s.EncodeAll(context.Background(), each(items("bulk", 80, 16)), nil)
		}()
		for range 42 {
			stepRun(next)
		}
		select {
		case err := <-imported:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("after 42 runs, an import of 80 texts in ten runs is not done")
		}
		stop()
	})
}

// A text that the background has accepted is encoded, even if a request asked for it meanwhile and
// gave up while the background was full.
func TestAcceptedTextsAreNotDropped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{QueueBytes: 50 * 520})
		release := occupy(t, m, s)
		accepted := items("accepted", 40, 8)
		if dropped := s.Enqueue(accepted); dropped != 0 {
			t.Fatalf("%d of 40 texts were dropped, the limit is 50", dropped)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { s.Fetch(ctx, accepted, make([][]float32, 40)) })
		settled(t, "a request waits for the texts", func() bool { return s.Stats().Misses == 40 })
		s.Enqueue(items("others", 400, 8)) // fills the background
		cancel()
		wg.Wait()
		release()
		if err := s.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if missing := s.Lookup(accepted, make([][]float32, 40)); missing != 0 {
			t.Errorf("%d of 40 accepted texts were dropped", missing)
		}
	})
}

// A query that two callers wait for is encoded, although the first one gives up.
func TestSharedQueryIsEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newFake()
		s := start(t, m, embeddings.Options{})
		release := occupy(t, m, s)
		ctx, cancel := context.WithCancel(context.Background())
		gaveUp, encoded := make(chan error, 1), make(chan []float32, 1)
		go func() {
			_, err := s.Text(ctx, "query")
			gaveUp <- err
		}()
		settled(t, "the query is queued", func() bool { return s.Stats().Queued == 2 })
		go func() {
			vec, _ := s.Text(context.Background(), "query")
			encoded <- vec
		}()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; err == nil {
			t.Error("the first caller has a vector")
		}
		release()
		m.check(t, []*ranker.ItemInfo{item("query")}, [][]float32{<-encoded})
	})
}
