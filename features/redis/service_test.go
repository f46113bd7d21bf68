package redis_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"relish/features/redis"
	"relish/features/storetest"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// service is a store behind the real ranking pipeline.
type service struct {
	*testStore
	pipeline *ranker.Pipeline
	ids      []string // the candidates

	mu      sync.Mutex // guards answers
	answers []answer   // to the callers of startLoad
	stop    context.CancelFunc
	callers sync.WaitGroup
}

// answer is what the tests look at in an answer of the pipeline.
type answer struct {
	asked, received time.Time
	degraded        []string
	coverage        float64
}

func newService(t *testing.T, s *testStore, ids []string) *service {
	t.Helper()
	schema, err := scorer.PriorSchema(s.cfg.Fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	prior, err := scorer.NewPrior(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	model := &ranker.Model{
		Version: "prior",
		Schema:  schema,
		Signals: []ranker.Signal{signals.TokenOverlap{}},
		Scorer:  prior,
	}
	p, err := ranker.New(ranker.Options{
		Features: s, TextSpec: ranker.DefaultTextSpec, Models: scorer.SingleModel(model),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &service{testStore: s, pipeline: p, ids: ids}
}

// warmService returns a service with 100 items that holds local copies of all of them.
func warmService(t *testing.T, url string) *service {
	t.Helper()
	s := open(t, url, t.TempDir(), storetest.Config(), redis.Options{})
	svc := newService(t, s, addItems(t, s, 100))
	svc.waitComplete(t)
	svc.waitCopies(t)
	return svc
}

// rank ranks once. It checks what must always hold: the answer has every candidate once, and says
// what it lacks.
func (s *service) rank(t testing.TB) answer {
	req := &ranker.Request{ID: "r", User: "u", Deadline: 100 * time.Millisecond}
	for _, id := range s.ids {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
	}
	a := answer{asked: time.Now()}
	resp, err := s.pipeline.Rank(t.Context(), req)
	a.received = time.Now()
	if err != nil {
		t.Errorf("no answer: %v", err)
		return a
	}
	var got []string
	for _, it := range resp.Items {
		got = append(got, it.ID)
	}
	want := slices.Clone(s.ids)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d items in the answer, want each of %d candidates once", len(got), len(want))
	}
	missing := slices.Contains(resp.Degraded, ranker.FeaturesMissing)
	if resp.Coverage.Features < 1 && !missing {
		t.Errorf("coverage %v, but degraded is %v", resp.Coverage.Features, resp.Degraded)
	}
	a.degraded, a.coverage = resp.Degraded, resp.Coverage.Features
	return a
}

// readsEnd reads until a read has asked Redis or the breaker is open. It fails the test if a read
// is not over after a minute, which means that it has ignored its deadline of 23 ms.
func (s *service) readsEnd(t *testing.T) {
	t.Helper()
	q := query(t, "u", s.ids)
	before := s.Stats().RoundTrips
	eventually(t, "a read asks Redis", func() bool {
		mustEnd(t, "a read with a deadline of 23 ms", func() { _, _ = s.Read(t.Context(), q) })
		return s.Stats().RoundTrips > before || !s.Stats().Up
	})
}

// startLoad has four callers rank until stopLoad.
func (s *service) startLoad(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	for range 4 {
		s.callers.Go(func() {
			for ctx.Err() == nil {
				a := s.rank(t)
				s.mu.Lock()
				s.answers = append(s.answers, a)
				s.mu.Unlock()
				time.Sleep(2 * time.Millisecond) // leaves the processor to others
			}
		})
	}
}

func (s *service) stopLoad() []answer {
	s.stop()
	s.callers.Wait()
	return s.answers
}

// waitAnswers waits for n more answers to the load.
func (s *service) waitAnswers(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.answers)
	}
	n += count()
	eventually(t, "more answers", func() bool { return count() >= n })
}

// checkBreaker waits for the breaker to open, and checks that rankings do not ask Redis then.
func (s *service) checkBreaker(t *testing.T) {
	t.Helper()
	eventually(t, "the breaker opens", func() bool { return !s.Stats().Up })
	before := s.Stats().RoundTrips
	s.waitAnswers(t, 100)
	// Each of the four callers may have been about to ask, twice.
	if n := s.Stats().RoundTrips - before; n > 8 {
		t.Errorf("%d round trips while the breaker was open", n)
	}
}

// waitComplete ranks until answers lack nothing.
func (s *service) waitComplete(t *testing.T) {
	t.Helper()
	eventually(t, "answers lack nothing", func() bool { return len(s.rank(t).degraded) == 0 })
}

// waitCopies ranks until there are local copies of everything. The cache stores copies in the
// background, and not if something changed meanwhile. A read with too little time for Redis shows
// what there is.
func (s *service) waitCopies(t *testing.T) {
	t.Helper()
	q := query(t, "u", s.ids)
	eventually(t, "local copies of everything", func() bool {
		s.rank(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Microsecond)
		defer cancel()
		st, err := s.Read(ctx, q)
		return err == nil && st.Stale && st.ItemsRead == len(s.ids)
	})
}

// deadlineRecorder records how much time MGET commands have. It is a hook of the Redis client.
type deadlineRecorder struct {
	mu    sync.Mutex
	waits []time.Duration // 0 for a command without a deadline
}

func (r *deadlineRecorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits = nil
}

func (r *deadlineRecorder) mgets() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waits
}

// DialHook implements goredis.Hook.
func (r *deadlineRecorder) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return next(ctx, network, addr)
	}
}

// ProcessHook implements goredis.Hook.
func (r *deadlineRecorder) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if cmd.Name() == "mget" {
			var wait time.Duration
			if deadline, ok := ctx.Deadline(); ok {
				// Never 0, which stands for no deadline.
				wait = max(1, time.Until(deadline))
			}
			r.mu.Lock()
			r.waits = append(r.waits, wait)
			r.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements goredis.Hook.
func (r *deadlineRecorder) ProcessPipelineHook(
	next goredis.ProcessPipelineHook,
) goredis.ProcessPipelineHook {
	return next
}
