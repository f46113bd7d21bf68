package ranker_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relish/ranker"
)

type panickingLookup struct{ vectorsFunc }

func (panickingLookup) Lookup([]*ranker.ItemInfo, [][]float32) int { panic("lookup") }

type panickingExperiments struct{ inReadsUser bool }

func (e panickingExperiments) ReadsUser() bool {
	if e.inReadsUser {
		panic("reads user")
	}
	return false
}

func (panickingExperiments) Assign(
	*ranker.Request, map[string]ranker.FieldValue, int64,
) ([]ranker.Assignment, string) {
	panic("assign")
}

// A panic in a dependency that the request's own goroutine calls costs quality, not the answer.
func TestPanicsOfDependenciesAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		want   string // start of the error
	}{
		"vectors": {func(w *world) { w.opt.Vectors = panickingLookup{} }, "vectors: panic"},
		"experiments": {
			func(w *world) { w.opt.Experiments = panickingExperiments{} }, "experiments: panic",
		},
		"the user's fields": {
			func(w *world) { w.opt.Experiments = panickingExperiments{true} },
			"experiments: panic",
		},
		"recorder": {
			func(w *world) { w.opt.Recorder = recordFunc(func(*ranker.Event) { panic("full") }) },
			"recorder: panic",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 5)
			c.change(w)
			checkComplete(t, w.request(5), w.rank(t, w.request(5)))
			if len(w.errs) != 1 || !strings.HasPrefix(w.errs[0].Error(), c.want) {
				t.Errorf("errors %v, want one %q", w.errs, c.want)
			}
		})
	}
}

// A ranking whose caller has gone starts no call, and is counted in place of being recorded.
func TestGoneCallerIsNotRecorded(t *testing.T) {
	w := newWorld(t, 5)
	calls := 0
	w.reading(func(*ranker.RequestState) { calls++ })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := w.pipeline(t)
	resp, err := p.Rank(ctx, w.request(5))
	if err != nil {
		t.Fatal(err)
	}
	checkComplete(t, w.request(5), resp)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.records) != 0 || p.Unshown() != 1 || calls != 0 {
		t.Errorf("%d records, %d unshown, %d calls", len(w.records), p.Unshown(), calls)
	}
	for _, s := range p.Stats() {
		if s.AbandonedTotal != 0 {
			t.Errorf("stats %+v", s)
		}
	}
}

// Rankings with short deadlines abandon calls that soon end. They leave the stage to others.
func TestShortDeadlinesLeaveTheStageToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.models.main.Scorer = sum{before: func() error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}}
		w.opt.Recorder, w.opt.OnRanked = nil, nil
		p := w.pipeline(t)
		const slots = 256
		done := make(chan error, slots)
		for range slots {
			go func() {
				req := w.request(5)
				req.Deadline = time.Millisecond
				_, err := p.Rank(t.Context(), req)
				done <- err
			}()
		}
		for range slots {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		resp, err := p.Rank(t.Context(), w.request(5))
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Degraded) > 0 || p.Stats()[2].AbandonedTotal != slots {
			t.Errorf("degraded %v, stats %+v", resp.Degraded, p.Stats())
		}
		synctest.Wait()
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
