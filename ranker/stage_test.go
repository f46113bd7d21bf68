package ranker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relish/ranker"
)

// hungPipeline returns a pipeline whose features ignore their context and hang until hang is
// closed.
func hungPipeline(
	t *testing.T, maxAbandoned int, hang chan struct{},
) (*world, *ranker.Pipeline) {
	t.Helper()
	w := newWorld(t, 5)
	w.opt.MaxAbandoned = maxAbandoned
	w.failFeatures(func() { <-hang })
	return w, w.pipeline(t)
}

// A hung dependency may keep MaxAbandoned goroutines. From then on the stage falls back at once.
func TestHungDependencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3
		hang := make(chan struct{})
		w, p := hungPipeline(t, limit, hang)
		rank := func() time.Duration {
			start := time.Now()
			resp, err := p.Rank(t.Context(), w.request(5))
			if err != nil {
				t.Fatal(err)
			}
			checkComplete(t, w.request(5), resp)
			if !slices.Equal(resp.Degraded, []string{ranker.FeaturesMissing}) {
				t.Fatalf("degraded %v", resp.Degraded)
			}
			return time.Since(start)
		}
		for range limit {
			if took := rank(); took != 800*time.Millisecond {
				t.Errorf("waited %v for the features, not their slice of 0.4 of the deadline", took)
			}
		}
		for range 10 {
			if took := rank(); took != 0 {
				t.Errorf("waited %v although %d calls hang", took, limit)
			}
		}
		const refused = "features: not started: too many earlier calls"
		if !strings.Contains(errors.Join(w.errs...).Error(), refused) {
			t.Errorf("errors %v", w.errs)
		}
		want := ranker.StageStats{
			Stage:          ranker.StageFeatures,
			Abandoned:      limit,
			AbandonedTotal: limit,
			RefusedTotal:   10,
		}
		if got := p.Stats(); got[0] != want || got[1].Abandoned != 0 || got[2].Abandoned != 0 {
			t.Errorf("stats %+v, want %+v and nothing for the other stages", got, want)
		}
		close(hang)
		synctest.Wait()
		want.Abandoned = 0
		if got := p.Stats()[0]; got != want {
			t.Errorf("stats %+v after the calls returned, want %+v", got, want)
		}
		if rank(); p.Stats()[0].RefusedTotal != 10 {
			t.Error("a call was refused although none is abandoned")
		}
	})
}

// Close waits for abandoned calls, and says which stage still runs if it may not wait longer.
func TestCloseWaitsForAbandonedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		w, p := hungPipeline(t, 0, hang)
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("nothing runs: %v", err)
		}
		if _, err := p.Rank(t.Context(), w.request(5)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "1 calls of stage features still run") {
			t.Errorf("error %v", err)
		}
		closed := make(chan error)
		go func() { closed <- p.Close(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("closed while a call runs: %v", err)
		default:
		}
		close(hang)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// An abandoned call holds its model: the model is closed after the call has returned, although the
// request is answered and the owner has released the model.
func TestAbandonedCallHoldsItsModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		hang, closed := make(chan struct{}), make(chan struct{})
		w.models.main.Scorer = sum{before: func() error { <-hang; return errBroken }}
		w.models.main.Lifetime = ranker.NewLifetime(func() { close(closed) })
		w.models.previous = w.with("previous", sum{})
		w.models.previous.Lifetime = ranker.NewLifetime(
			func() { t.Error("the fallback was closed") },
		)
		p := w.pipeline(t)
		if _, err := p.Rank(t.Context(), w.request(5)); err != nil {
			t.Fatal(err)
		}
		w.models.main.Release()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("the model was closed while a call used it")
		default:
		}
		close(hang)
		<-closed
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
