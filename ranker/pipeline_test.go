package ranker_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"relish/ranker"
)

// complete checks what holds for every answer: each candidate once, ranks 1..N, finite scores.
func complete(t *testing.T, req *ranker.Request, resp *ranker.Response) {
	t.Helper()
	seen := map[string]bool{}
	for i, it := range resp.Items {
		if seen[it.ID] || it.Rank != i+1 || it.Score-it.Score != 0 {
			t.Fatalf("item %d: %+v", i, it)
		}
		seen[it.ID] = true
	}
	if len(seen) != len(req.Candidates) {
		t.Fatalf("%d of %d candidates answered", len(seen), len(req.Candidates))
	}
	if resp.Degraded == nil || resp.Experiments == nil {
		t.Error("degraded and experiments are always there")
	}
}

func TestBestFirst(t *testing.T) {
	w := newWorld(t, 50)
	req := w.request(50)
	resp := w.rank(t, req)
	complete(t, req, resp)
	if !slices.IsSortedFunc(resp.Items, func(a, b ranker.RankedItem) int { return -cmpFloat(a.Score, b.Score) }) {
		t.Error("not sorted by score")
	}
	if len(resp.Degraded) != 0 || resp.Coverage != (ranker.Coverage{Text: 1, Features: 1}) || resp.Model != "main" {
		t.Errorf("%+v", resp)
	}
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Every rung of the ladder: what breaks, what the answer says, and that it is still whole.
func TestLadder(t *testing.T) {
	boom := func() error { panic("boom") }
	fail := func(context.Context) error { return errBroken }
	cases := map[string]struct {
		breakIt  func(*world)
		degraded []string
		coverage ranker.Coverage
		model    string
		known    bool // an error is reported to Observe
	}{
		"all well": {func(*world) {}, nil, ranker.Coverage{Text: 1, Features: 1}, "main", false},
		"some vectors missing": {func(w *world) {
			w.opt.Vectors = vectorsFunc(func(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
				w.vectors(ctx, items[:5], out[:5])
			})
		}, []string{ranker.EmbeddingsPartial}, ranker.Coverage{Text: 0.5, Features: 1}, "main", false},
		"vectors panic": {func(w *world) {
			w.opt.Vectors = vectorsFunc(func(context.Context, []*ranker.ItemInfo, [][]float32) { panic("boom") })
		}, []string{ranker.EmbeddingsPartial}, ranker.Coverage{Text: 0, Features: 1}, "main", true},
		"no vectors at all is a choice": {func(w *world) { w.opt.Vectors = nil },
			nil, ranker.Coverage{Text: 1, Features: 1}, "main", false},
		"stale features": {func(w *world) {
			w.opt.Features = readFunc(func(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
				st, err := w.read(ctx, q)
				st.Stale = true
				return st, err
			})
		}, []string{ranker.FeaturesStale}, ranker.Coverage{Text: 1, Features: 1}, "main", false},
		"some features unread": {func(w *world) {
			w.opt.Features = readFunc(func(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
				st, err := w.read(ctx, q)
				st.ItemsRead = 4
				return st, err
			})
		}, []string{ranker.FeaturesMissing}, ranker.Coverage{Text: 1, Features: 0.4}, "main", false},
		"features fail": {func(w *world) {
			w.opt.Features = readFunc(func(context.Context, *ranker.FeatureQuery) (*ranker.RequestState, error) { return nil, errBroken })
		}, []string{ranker.FeaturesMissing}, ranker.Coverage{Text: 1, Features: 0}, "main", true},
		"features panic": {func(w *world) {
			w.opt.Features = readFunc(func(context.Context, *ranker.FeatureQuery) (*ranker.RequestState, error) { panic("boom") })
		}, []string{ranker.FeaturesMissing}, ranker.Coverage{Text: 1, Features: 0}, "main", true},
		"a matcher fails": {func(w *world) { w.models.main.Signals = []ranker.Signal{matcher{fail}} },
			[]string{ranker.ScorerFallback}, ranker.Coverage{Text: 1, Features: 1}, "main", true},
		"the blend fails": {func(w *world) {
			w.models.previous = &ranker.Model{Version: "previous", Schema: w.models.main.Schema, Scorer: sum{}}
			w.models.main.Scorer = sum{before: func() error { return errBroken }}
		}, []string{ranker.ScorerFallback}, ranker.Coverage{Text: 1, Features: 1}, "previous", true},
		"the blend gives nonsense": {func(w *world) {
			w.models.previous = &ranker.Model{Version: "previous", Schema: w.models.main.Schema, Scorer: sum{}}
			w.models.main.Scorer = sum{base: math.Inf(1)}
		}, []string{ranker.ScorerFallback}, ranker.Coverage{Text: 1, Features: 1}, "previous", true},
		"every blend panics": {func(w *world) {
			w.models.previous = &ranker.Model{Version: "previous", Schema: w.models.main.Schema, Scorer: sum{before: boom}}
			w.models.main.Scorer = sum{before: boom}
		}, []string{ranker.ScorerFallback, ranker.InputOrder}, ranker.Coverage{Text: 1, Features: 1}, "", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			c.breakIt(w)
			req := w.request(10)
			resp := w.rank(t, req)
			complete(t, req, resp)
			if !slices.Equal(resp.Degraded, c.degraded) {
				t.Errorf("degraded %v, want %v", resp.Degraded, c.degraded)
			}
			if resp.Coverage != c.coverage || resp.Model != c.model {
				t.Errorf("coverage %+v, model %q", resp.Coverage, resp.Model)
			}
			if (len(w.errs) > 0) != c.known {
				t.Errorf("errors %v", w.errs)
			}
			if slices.Contains(resp.Degraded, ranker.InputOrder) {
				for i, it := range resp.Items {
					if it.ID != req.Candidates[i].ID {
						t.Fatalf("place %d is %s", i, it.ID)
					}
				}
			}
		})
	}
}

// A part that hangs costs its slice of the deadline, never the answer. The answer is held against a
// generous bound: what is tested is that the hanging part is not waited for.
func TestHangingPartIsNotWaitedFor(t *testing.T) {
	hang := make(chan struct{}) // the parts below ignore their context on purpose
	var running = make(chan struct{}, 100)
	stuck := func() { running <- struct{}{}; <-hang; running <- struct{}{} }
	cases := map[string]struct {
		breakIt  func(*world)
		degraded string
	}{
		"features": {func(w *world) {
			w.opt.Features = readFunc(func(context.Context, *ranker.FeatureQuery) (*ranker.RequestState, error) {
				stuck()
				return nil, errBroken
			})
		}, ranker.FeaturesMissing},
		"vectors": {func(w *world) {
			w.opt.Vectors = vectorsFunc(func(context.Context, []*ranker.ItemInfo, [][]float32) { stuck() })
		}, ranker.EmbeddingsPartial},
		"matcher": {func(w *world) {
			w.models.main.Signals = []ranker.Signal{matcher{func(context.Context) error { stuck(); return errBroken }}}
		}, ranker.ScorerFallback},
		"blend": {func(w *world) {
			w.models.main.Scorer = sum{before: func() error { stuck(); return errBroken }}
		}, ranker.InputOrder},
	}
	started := 0
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			c.breakIt(w)
			req := w.request(10)
			req.Deadline = 50 * time.Millisecond
			before := time.Now()
			resp := w.rank(t, req)
			if took := time.Since(before); took > 2*time.Second {
				t.Errorf("answered after %v", took)
			}
			<-running
			started++
			complete(t, req, resp)
			if !slices.Contains(resp.Degraded, c.degraded) {
				t.Errorf("degraded %v", resp.Degraded)
			}
		})
	}
	close(hang)
	for range started {
		<-running
	}
}

// Ties must not leak the retriever's order, nor the alphabet: shuffling the input changes nothing,
// a different seed changes the order.
func TestTiesByHashOfIDAndSeed(t *testing.T) {
	w := newWorld(t, 40)
	w.opt.Features = readFunc(func(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
		st, err := w.read(ctx, q)
		for i := range st.Columns {
			st.Columns[i] = 1
		}
		return st, err
	})
	w.opt.Vectors = nil
	order := func(seed uint64, shuffle bool) (ids []string) {
		req := w.request(40)
		req.Seed = seed
		if shuffle {
			rand.Shuffle(40, func(i, j int) {
				req.Candidates[i], req.Candidates[j] = req.Candidates[j], req.Candidates[i]
			})
		}
		for _, it := range w.rank(t, req).Items {
			ids = append(ids, it.ID)
		}
		return ids
	}
	one := order(1, false)
	for range 5 {
		if !slices.Equal(one, order(1, true)) {
			t.Fatal("the input's order decides ties")
		}
	}
	if slices.Equal(one, order(2, false)) || slices.IsSorted(one) {
		t.Error("the seed decides nothing")
	}
}

func TestLimitAndUnknownModel(t *testing.T) {
	w := newWorld(t, 10)
	req := w.request(10)
	req.Limit = 3
	if n := len(w.rank(t, req).Items); n != 3 {
		t.Errorf("%d items", n)
	}
	req.Model = "other"
	p, err := ranker.New(w.opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Rank(context.Background(), req); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("error %v", err)
	}
}

func TestInlineItemStandsInWhenFeaturesAreGone(t *testing.T) {
	w := newWorld(t, 4)
	w.opt.Features = readFunc(func(context.Context, *ranker.FeatureQuery) (*ranker.RequestState, error) { return nil, errBroken })
	req := w.request(4)
	inline := &ranker.Item{Title: "title of i003"}
	req.Candidates[2].Inline = inline
	resp := w.rank(t, req)
	if resp.Coverage.Text != 1 || resp.Items[0].ID != "i002" {
		t.Errorf("%+v", resp)
	}
	if inline.ID != "" {
		t.Error("the request was changed")
	}
}

func TestFailedStepLeavesTheListAsItWas(t *testing.T) {
	w := newWorld(t, 10)
	want := w.rank(t, w.request(10)).Items
	w.opt.Rules = ranker.RuleSet{
		ranker.RuleFilter: stepFunc(func(l *ranker.List) error { slices.Reverse(l.Entries); l.Entries = l.Entries[:3]; return errBroken }),
		ranker.RuleBoost:  stepFunc(func(l *ranker.List) error { l.Entries = nil; panic("boom") }),
	}
	if got := w.rank(t, w.request(10)).Items; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if len(w.errs) != 2 {
		t.Errorf("errors %v", w.errs)
	}
}

func TestImpressionRecord(t *testing.T) {
	w := newWorld(t, 150)
	w.opt.LogFeatures = 1
	w.opt.Clock = func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	req := w.request(150)
	req.Session = "s"
	resp := w.rank(t, req)
	if len(w.records) != 1 {
		t.Fatalf("%d records", len(w.records))
	}
	imp := w.records[0]
	if len(imp.Items) != ranker.MaxImpressionItems || imp.Items[0] != resp.Items[0].ID || imp.Items[99] != resp.Items[99].ID {
		t.Errorf("items %v", imp.Items)
	}
	if e := w.events[0]; e.Kind != ranker.EventImpression || e.ID != req.ID || e.UserID != "u1" || e.Session != "s" || e.Time != 1_700_000_000_000 {
		t.Errorf("%+v", e)
	}
	if !imp.Served || imp.StateSeq != 42 || imp.Model != "main" || imp.SchemaHash != w.models.main.Schema.Hash() || imp.MatrixHash == 0 || imp.Took <= 0 {
		t.Errorf("%+v", imp)
	}
	if len(imp.Matrix) != 100*3 {
		t.Errorf("%d logged cells", len(imp.Matrix))
	}
	for what, change := range map[string]func(*ranker.Request){
		"record false": func(r *ranker.Request) { r.Record = false },
		"own clock":    func(r *ranker.Request) { r.Time = 1 },
	} {
		w.records = nil
		req := w.request(5)
		change(req)
		w.rank(t, req)
		if len(w.records) != 0 {
			t.Errorf("%s: recorded", what)
		}
	}
	// A share is a share of requests, decided by the request's id.
	w.opt.LogFeatures = 0.2
	w.records = nil
	for i := range 1000 {
		req := w.request(2)
		req.ID = fmt.Sprintf("request-%d", i)
		w.rank(t, req)
	}
	logged := 0
	for _, imp := range w.records {
		if imp.Matrix != nil {
			logged++
		}
	}
	if logged < 150 || logged > 250 {
		t.Errorf("%d of 1000 matrices logged at a share of 0.2", logged)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	w := newWorld(t, 1)
	for _, opt := range []ranker.Options{{}, {Features: w.opt.Features}, {Features: w.opt.Features, Models: w.models, LogFeatures: 1.5}} {
		if _, err := ranker.New(opt); err == nil {
			t.Errorf("%+v was accepted", opt)
		}
	}
}
