package redis_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// service is a store behind the real pipeline, asked without end by several callers.
type service struct {
	*opened
	pipeline *ranker.Pipeline
	ids      []string

	mu      sync.Mutex
	answers []answer
	stop    context.CancelFunc
	callers sync.WaitGroup
}

type answer struct {
	at       time.Time
	took     time.Duration
	degraded []string
	coverage float64
}

// deadline is the requests' own. Slack is what a busy machine may add, and still less than the five seconds that a
// client waits for Redis which heeds no deadline.
const (
	deadline = 100 * time.Millisecond
	slack    = 3 * time.Second
)

func serve(t *testing.T, s *opened, ids []string) *service {
	t.Helper()
	schema, err := scorer.PriorSchema(s.cfg.Fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	prior, err := scorer.NewPrior(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ranker.New(ranker.Options{Features: s, TextSpec: ranker.DefaultTextSpec,
		Models: scorer.SingleModel(&ranker.Model{Version: "prior", Schema: schema, Signals: []ranker.Signal{signals.TokenOverlap{}}, Scorer: prior})})
	if err != nil {
		t.Fatal(err)
	}
	return &service{opened: s, pipeline: p, ids: ids}
}

// rank asks once, and checks what must hold whatever happens: an answer, in time, with every candidate once.
func (s *service) rank(t testing.TB) answer {
	req := &ranker.Request{ID: "r", User: "u", Deadline: deadline}
	for _, id := range s.ids {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
	}
	start := time.Now()
	resp, err := s.pipeline.Rank(t.Context(), req)
	a := answer{at: start, took: time.Since(start)}
	if err != nil {
		t.Errorf("no answer: %v", err)
		return a
	}
	if a.took > deadline+slack {
		t.Errorf("an answer after %v", a.took)
	}
	var got []string
	for _, it := range resp.Items {
		got = append(got, it.ID)
	}
	want := slices.Clone(s.ids)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d of %d candidates are in the answer", len(got), len(want))
	}
	if resp.Coverage.Features < 1 && !slices.Contains(resp.Degraded, ranker.FeaturesMissing) {
		t.Errorf("coverage %v is not said in %v", resp.Coverage.Features, resp.Degraded)
	}
	a.degraded, a.coverage = resp.Degraded, resp.Coverage.Features
	return a
}

// load asks from several callers until end.
func (s *service) load(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	for range 4 {
		s.callers.Go(func() {
			for ctx.Err() == nil {
				a := s.rank(t)
				s.mu.Lock()
				s.answers = append(s.answers, a)
				s.mu.Unlock()
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
}

// answered waits for n more answers.
func (s *service) answered(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.answers)
	}
	n += count()
	eventually(t, "more answers", func() bool { return count() >= n })
}

// unasked waits for the breaker to open, and checks that rankings then leave Redis alone.
func (s *service) unasked(t *testing.T) {
	t.Helper()
	eventually(t, "the breaker opens", func() bool { return !s.Stats().Up })
	before := s.Stats().RoundTrips
	s.answered(t, 100)
	if n := s.Stats().RoundTrips - before; n > 8 { // who was asking at that moment
		t.Errorf("%d questions to Redis with the breaker open", n)
	}
}

func (s *service) end() []answer {
	s.stop()
	s.callers.Wait()
	return s.answers
}

// whole waits until answers lack nothing.
func (s *service) whole(t *testing.T) {
	t.Helper()
	eventually(t, "answers are whole", func() bool { return len(s.rank(t).degraded) == 0 })
}

// copied ranks until local copies would serve: they are kept in the background, and not where something changed
// meanwhile. It finds out by asking with too little time for Redis.
func (s *service) copied(t *testing.T) {
	t.Helper()
	q := query(t, "u", s.ids)
	eventually(t, "local copies", func() bool {
		s.rank(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Microsecond)
		defer cancel()
		st, err := s.Read(ctx, q)
		return err == nil && st.Stale && st.ItemsRead == len(s.ids)
	})
}

// loaded is a service that has ranked everything once: it holds local copies.
func loaded(t *testing.T, url string) *service {
	t.Helper()
	s := open(t, url, t.TempDir(), features.DefaultConfig(), redis.Options{})
	svc := serve(t, s, catalogue(t, s, 100))
	svc.whole(t)
	svc.copied(t)
	return svc
}

// replay applies a folder's log to a state.
func replay(t testing.TB, s *features.State, dir string) {
	t.Helper()
	for rec, err := range eventlog.Read(ingest.LogDir(dir), 1) {
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(&rec)
	}
}
