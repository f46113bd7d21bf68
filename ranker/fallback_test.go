package ranker_test

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"relish/ranker"
)

// Each fallback: what breaks, and what the answer says. The answer is always complete.
func TestFallbacks(t *testing.T) {
	panics := func() { panic("boom") }
	type coverage = ranker.Coverage
	previousScores := func(w *world, main ranker.Scorer) {
		w.models.previous = w.with("previous", sum{})
		w.models.previous.Signals = nil
		w.models.main.Scorer = main
	}
	cases := map[string]struct {
		change   func(*world)
		degraded []string
		coverage ranker.Coverage
		model    string
		observed bool // errors are passed to Observe
	}{
		"nothing breaks": {func(*world) {}, nil, coverage{1, 1, 1}, "main", false},
		"some vectors are missing": {func(w *world) {
			w.opt.Vectors = vectorsFunc(func(
				ctx context.Context, items []*ranker.ItemInfo, out [][]float32,
			) {
				w.vectors(ctx, items[:5], out[:5])
			})
		}, []string{ranker.EmbeddingsPartial},
			coverage{Text: 0.5, Features: 1, Known: 1}, "main", false},
		"vectors panic": {func(w *world) {
			w.opt.Vectors = vectorsFunc(func(context.Context, []*ranker.ItemInfo, [][]float32) {
				panics()
			})
		}, []string{ranker.EmbeddingsPartial},
			coverage{Text: 0, Features: 1, Known: 1}, "main", true},
		"there is no encoder": {func(w *world) {
			w.opt.Vectors = nil
		}, nil, coverage{1, 1, 1}, "main", false},
		"features are stale": {func(w *world) {
			w.reading(func(state *ranker.RequestState) { state.Stale = true })
		}, []string{ranker.FeaturesStale}, coverage{1, 1, 1}, "main", false},
		"some features are unread": {func(w *world) {
			w.reading(func(state *ranker.RequestState) { state.ItemsRead = 4 })
		}, []string{ranker.FeaturesMissing},
			coverage{Text: 1, Features: 0.4, Known: 1}, "main", false},
		"nobody knows some candidates": {func(w *world) {
			w.reading(func(state *ranker.RequestState) {
				for i := range 3 {
					state.Items[i] = nil
				}
				state.Counts = make([]ranker.ItemCounts, len(state.Items))
				state.Counts[0] = ranker.ItemCounts{Shown: 5}
				state.Counts[1] = ranker.ItemCounts{Shown: 5, Actions: 1}
			})
		}, nil, coverage{Text: 1, Features: 1, Known: 0.8}, "main", false},
		"features fail": {func(w *world) {
			w.failFeatures(func() {})
		}, []string{ranker.FeaturesMissing}, coverage{Text: 1, Features: 0}, "main", true},
		"features panic": {func(w *world) {
			w.failFeatures(panics)
		}, []string{ranker.FeaturesMissing}, coverage{Text: 1, Features: 0}, "main", true},
		"a signal fails": {func(w *world) {
			fail := func(context.Context) error { return errBroken }
			w.models.main.Signals = []ranker.Signal{textSignal{fail}}
		}, []string{ranker.ScorerFallback}, coverage{1, 1, 1}, "main", true},
		"the scorer fails": {func(w *world) {
			previousScores(w, failing)
		}, []string{ranker.ScorerFallback}, coverage{1, 1, 1}, "previous", true},
		"the scorer returns infinity": {func(w *world) {
			previousScores(w, sum{base: math.Inf(1)})
		}, []string{ranker.ScorerFallback}, coverage{1, 1, 1}, "previous", true},
		"every scorer panics": {func(w *world) {
			scorer := sum{before: func() error { panic("boom") }}
			previousScores(w, scorer)
			w.models.previous.Scorer = scorer
		}, []string{ranker.ScorerFallback, ranker.InputOrder},
			coverage{Text: 1, Features: 1, Known: 1}, "", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			c.change(w)
			req := w.request(10)
			resp := w.rank(t, req)
			checkComplete(t, req, resp)
			if !slices.Equal(resp.Degraded, c.degraded) {
				t.Errorf("degraded %v, want %v", resp.Degraded, c.degraded)
			}
			if resp.Coverage != c.coverage || resp.Model != c.model {
				t.Errorf(
					"coverage %+v, model %q; want %+v, %q",
					resp.Coverage,
					resp.Model,
					c.coverage,
					c.model,
				)
			}
			if (len(w.errs) > 0) != c.observed {
				t.Errorf("errors %v, want any: %t", w.errs, c.observed)
			}
			if slices.Contains(resp.Degraded, ranker.InputOrder) {
				for i, id := range ids(resp) {
					if id != req.Candidates[i].ID {
						t.Fatalf("position %d has %s, not the request's order", i, id)
					}
				}
			}
		})
	}
}

func TestInlineItemWithoutFeatures(t *testing.T) {
	w := newWorld(t, 4)
	w.failFeatures(func() {})
	req := w.request(4)
	inline := &ranker.Item{Title: "title of i003"}
	req.Candidates[2].Inline = inline
	resp := w.rank(t, req)
	if resp.Coverage.Text != 1 || resp.Items[0].ID != "i002" {
		t.Errorf("coverage %+v, order %v; want the inline item first", resp.Coverage, ids(resp))
	}
	if inline.ID != "" {
		t.Error("the request's inline item was changed")
	}
}

// Search texts and inline content are marked, so that their vectors are not stored.
func TestTextsOfTheRequestAreTransient(t *testing.T) {
	w := newWorld(t, 4)
	w.failFeatures(func() {})
	transient := map[string]bool{}
	w.opt.Vectors = vectorsFunc(func(_ context.Context, items []*ranker.ItemInfo, _ [][]float32) {
		for _, it := range items {
			if it != nil {
				transient[it.Title()] = it.Transient
			}
		}
	})
	req := w.request(4)
	req.Candidates[2].Inline = &ranker.Item{Title: "inline"}
	req.Context = map[string]ranker.FieldValue{"query": ranker.StringValue("query")}
	w.rank(t, req)
	if !transient["inline"] || !transient["query"] || len(transient) != 2 {
		t.Errorf("transient: %v", transient)
	}
}

// A dependency that hangs costs its slice of the deadline, never the answer.
func TestHungDependencyIsNotWaitedFor(t *testing.T) {
	const deadline = 50 * time.Millisecond
	cases := map[string]struct {
		change   func(w *world, hang func())
		degraded string
	}{
		"features": {func(w *world, hang func()) {
			w.failFeatures(hang)
		}, ranker.FeaturesMissing},
		"vectors": {func(w *world, hang func()) {
			w.opt.Vectors = vectorsFunc(func(context.Context, []*ranker.ItemInfo, [][]float32) {
				hang()
			})
		}, ranker.EmbeddingsPartial},
		"signal": {func(w *world, hang func()) {
			fail := func(context.Context) error {
				hang()
				return errBroken
			}
			w.models.main.Signals = []ranker.Signal{textSignal{fail}}
		}, ranker.ScorerFallback},
		"scorer": {func(w *world, hang func()) {
			w.models.main.Scorer = sum{before: func() error {
				hang()
				return errBroken
			}}
		}, ranker.InputOrder},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				w := newWorld(t, 10)
				c.change(w, func() { <-end }) // hangs, and ignores its context
				req := w.request(10)
				req.Deadline = deadline
				start := time.Now()
				resp := w.rank(t, req)
				if took := time.Since(start); took > deadline {
					t.Errorf("answered after %v, want the deadline of %v at most", took, deadline)
				}
				checkComplete(t, req, resp)
				if !slices.Contains(resp.Degraded, c.degraded) {
					t.Errorf("degraded %v, want %s in it", resp.Degraded, c.degraded)
				}
				close(end)
			})
		})
	}
}
