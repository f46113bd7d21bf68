package signals_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// half computes users in Go, behind a gate where there is one.
type half struct {
	model *signals.TwoTower
	gate  chan struct{} // nil: open
	began chan int      // told the size of each batch, if not nil
	fail  func() error

	mu   sync.Mutex
	runs int
}

func (h *half) EncodeUsers(n int, history, newest, users []float32) error {
	h.mu.Lock()
	h.runs++
	h.mu.Unlock()
	if h.began != nil {
		h.began <- n
	}
	if h.gate != nil {
		<-h.gate
	}
	if h.fail != nil {
		if err := h.fail(); err != nil {
			return err
		}
	}
	w := h.model.Weights()
	for i := range n {
		last := slices.Index(newest[i*w.HistoryLength:(i+1)*w.HistoryLength], 1)
		var items [][]float32
		for k := range last + 1 {
			items = append(items, history[(i*w.HistoryLength+k)*w.Dim:(i*w.HistoryLength+k+1)*w.Dim])
		}
		copy(users[i*w.Dim:], h.model.UserVector(items))
	}
	return nil
}

// asked is a request of a user with a random history.
func asked(r *rand.Rand, items int) *ranker.SignalInput {
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	for range 1 + r.IntN(8) {
		in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: "i" + string(rune('0'+r.IntN(items)))})
		in.RecentVectors = append(in.RecentVectors, nil)
	}
	for i := range items {
		in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: "i" + string(rune('0'+i))})
		in.ItemVectors, in.State.Items = append(in.ItemVectors, nil), append(in.State.Items, nil)
	}
	return in
}

func known(out []float32) (scores []float32) {
	for i := 0; i < len(out); i += 2 {
		scores = append(scores, out[i])
	}
	return scores
}

// Requests that come while a batch is computed are the next batch, and each gets its own user.
func TestElsewhereBatches(t *testing.T) {
	model := neural(t, randomModel(rand.New(rand.NewPCG(1, 1)), 1, 8, 2, 6, 0, 9))
	h := &half{model: model, gate: make(chan struct{}), began: make(chan int, 100)}
	e := signals.NewRemoteUserTower(model, h, func(err error) { t.Error(err) })
	var callers sync.WaitGroup
	call := func(seed uint64) {
		callers.Go(func() {
			in := asked(rand.New(rand.NewPCG(seed, 2)), 9)
			want, got := make([]float32, 18), make([]float32, 18)
			if err := errors.Join(model.Compute(t.Context(), in, want), e.Compute(t.Context(), in, got)); err != nil {
				t.Error(err)
			}
			if !slices.Equal(known(want), known(got)) {
				t.Errorf("request %d got another one's scores", seed)
			}
		})
	}
	call(0)
	if n := <-h.began; n != 1 {
		t.Errorf("the first request waited for others: %d", n)
	}
	for i := range uint64(20) {
		call(i + 1)
	}
	e.Settle(20)
	close(h.gate)
	callers.Wait()
	if n := <-h.began; h.runs != 2 || n != 32 {
		t.Errorf("%d runs, the second of %d places; want 2, and 20 padded to 32", h.runs, n)
	}
}

// Where it fails, breaks or takes too long, Go computes the user, and all but the last are told.
func TestElsewhereFails(t *testing.T) {
	model := neural(t, randomModel(rand.New(rand.NewPCG(2, 1)), 0, 8, 1, 6, 0, 9))
	in := asked(rand.New(rand.NewPCG(1, 2)), 9)
	want := make([]float32, 18)
	if err := model.Compute(t.Context(), in, want); err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	gate := make(chan struct{})
	defer close(gate)
	for name, c := range map[string]struct {
		ctx  context.Context
		half *half
		told int
	}{
		"error": {t.Context(), &half{model: model, fail: func() error { return errors.New("no memory") }}, 1},
		"panic": {t.Context(), &half{model: model, fail: func() error { panic("a user's name") }}, 1},
		"late":  {late, &half{model: model, gate: gate}, 0},
	} {
		told := 0
		var mu sync.Mutex
		e := signals.NewRemoteUserTower(model, c.half, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			told++
			if strings.Contains(err.Error(), "a user's name") {
				t.Error("a panic's value is told")
			}
		})
		got := make([]float32, 18)
		if err := e.Compute(c.ctx, in, got); err != nil || !slices.Equal(known(got), known(want)) {
			t.Errorf("%s: %v", name, err)
		}
		mu.Lock()
		if told != c.told {
			t.Errorf("%s: told %d times, want %d", name, told, c.told)
		}
		mu.Unlock()
	}
}
