package signals_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"relish/ranker"
	"relish/ranker/signals"
)

// goTower encodes users in Go. It can be held up and made to fail.
type goTower struct {
	model *signals.TwoTower
	hold  chan struct{} // if not nil, EncodeUsers waits until it is closed
	began chan int      // if not nil, receives the size of each batch
	fail  func() error  // if not nil, its error is returned
	calls atomic.Int64
}

func (g *goTower) EncodeUsers(n int, history, newest, users []float32) error {
	g.calls.Add(1)
	if g.began != nil {
		g.began <- n
	}
	if g.hold != nil {
		<-g.hold
	}
	if g.fail != nil {
		if err := g.fail(); err != nil {
			return err
		}
	}
	w := g.model.Weights()
	for i := range n {
		last := slices.Index(newest[i*w.HistoryLength:(i+1)*w.HistoryLength], 1)
		var items [][]float32
		for k := range last + 1 {
			from := (i*w.HistoryLength + k) * w.Dim
			items = append(items, history[from:from+w.Dim])
		}
		copy(users[i*w.Dim:], g.model.UserVector(items))
	}
	return nil
}

const towerItems = 9

// userInput returns a request of a user with a random history of known items.
func userInput(seed uint64) *ranker.SignalInput {
	r := rand.New(rand.NewPCG(seed, 2))
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	for range 1 + r.IntN(8) {
		item := ranker.Interaction{Item: fmt.Sprint("i", r.IntN(towerItems))}
		in.State.Recent = append(in.State.Recent, item)
		in.RecentVectors = append(in.RecentVectors, nil)
	}
	for i := range towerItems {
		candidate := ranker.Candidate{ID: fmt.Sprint("i", i)}
		in.Request.Candidates = append(in.Request.Candidates, candidate)
		in.ItemVectors = append(in.ItemVectors, nil)
		in.State.Items = append(in.State.Items, nil)
	}
	return in
}

// scores returns the column two_tower.score, computed with ctx.
func scores(
	ctx context.Context, t *testing.T, s ranker.Signal, in *ranker.SignalInput,
) []float32 {
	t.Helper()
	out := make([]float32, 2*towerItems)
	if err := s.Compute(ctx, in, out); err != nil {
		t.Error(err)
	}
	var column []float32
	for i := 0; i < len(out); i += 2 {
		column = append(column, out[i])
	}
	return column
}

// The requests that arrive while a batch is encoded are the next batch. Each gets its own user.
func TestRemoteUserTowerBatches(t *testing.T) {
	model := twoTower(t, randomModel(rand.New(rand.NewPCG(1, 1)), 1, 8, 2, 6, 0, towerItems))
	synctest.Test(t, func(t *testing.T) {
		tower := &goTower{model: model, hold: make(chan struct{}), began: make(chan int, 100)}
		remote := signals.NewRemoteUserTower(model, tower, func(err error) { t.Error(err) })
		var requests sync.WaitGroup
		request := func(seed uint64) {
			requests.Go(func() {
				want := scores(t.Context(), t, model, userInput(seed))
				if got := scores(t.Context(), t, remote, userInput(seed)); !slices.Equal(
					got,
					want,
				) {
					t.Errorf("request %d: scores %v, want %v", seed, got, want)
				}
			})
		}
		request(0)
		if n := <-tower.began; n != 1 {
			t.Errorf("the first batch has %d users, want 1", n)
		}
		for i := range uint64(20) {
			request(i + 1)
		}
		synctest.Wait() // all 20 wait for the tower
		close(tower.hold)
		requests.Wait()
		if n := <-tower.began; tower.calls.Load() != 2 || n != 32 {
			t.Errorf(
				"%d batches, the second of %d users; want 2 and 20 padded to 32",
				tower.calls.Load(),
				n,
			)
		}
		remote.Close()
	})
}

// A user that the tower cannot encode in time is encoded in Go. onError is called for failures.
func TestRemoteUserTowerFallsBackToGo(t *testing.T) {
	model := twoTower(t, randomModel(rand.New(rand.NewPCG(2, 1)), 0, 8, 1, 6, 0, towerItems))
	want := scores(t.Context(), t, model, userInput(1))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	hold := make(chan struct{})
	for name, c := range map[string]struct {
		ctx    context.Context
		tower  *goTower
		errors []string
	}{
		"an error": {
			t.Context(),
			&goTower{model: model, fail: func() error { return errors.New("no memory") }},
			[]string{"no memory"},
		},
		"a panic": {
			t.Context(),
			&goTower{model: model, fail: func() error { panic("a user's name") }},
			[]string{"the user tower panicked with a string; users are encoded in Go instead"},
		},
		"too late": {ended, &goTower{model: model, hold: hold}, nil},
	} {
		var mu sync.Mutex
		var got []string
		remote := signals.NewRemoteUserTower(model, c.tower, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, err.Error())
		})
		if s := scores(c.ctx, t, remote, userInput(1)); !slices.Equal(s, want) {
			t.Errorf("%s: scores %v, want %v", name, s, want)
		}
		mu.Lock()
		if !slices.Equal(got, c.errors) || strings.Contains(fmt.Sprint(got), "a user's name") {
			t.Errorf("%s: errors %q, want %q", name, got, c.errors)
		}
		mu.Unlock()
	}
	close(hold)
}

// A tower that has failed is left alone for a while: users are encoded in Go at once. Then it is
// used again.
func TestRemoteUserTowerThatFails(t *testing.T) {
	model := twoTower(t, randomModel(rand.New(rand.NewPCG(4, 1)), 0, 8, 1, 6, 0, towerItems))
	want := scores(t.Context(), t, model, userInput(1))
	synctest.Test(t, func(t *testing.T) {
		failing, failures := true, 0
		tower := &goTower{model: model, fail: func() error {
			if failing {
				return errors.New("device lost")
			}
			return nil
		}}
		remote := signals.NewRemoteUserTower(model, tower, func(error) { failures++ })
		rank := func() {
			if got := scores(t.Context(), t, remote, userInput(1)); !slices.Equal(got, want) {
				t.Errorf("scores %v, want %v", got, want)
			}
		}
		for range 100 {
			rank()
		}
		if tower.calls.Load() != 1 || failures != 1 {
			t.Errorf("%d runs and %d failures, want one", tower.calls.Load(), failures)
		}
		time.Sleep(time.Minute)
		rank()
		failing = false
		time.Sleep(time.Minute)
		rank()
		rank()
		if tower.calls.Load() != 4 || failures != 2 {
			t.Errorf("%d runs and %d failures, want 4 and 2", tower.calls.Load(), failures)
		}
		remote.Close()
	})
}

// The users that wait for a tower that hangs are bounded; further users are encoded in Go at once.
func TestRemoteUserTowerThatHangs(t *testing.T) {
	model := twoTower(t, randomModel(rand.New(rand.NewPCG(3, 1)), 0, 8, 1, 6, 0, towerItems))
	tower := &goTower{model: model, hold: make(chan struct{}), began: make(chan int, 100)}
	remote := signals.NewRemoteUserTower(model, tower, func(err error) { t.Error(err) })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	scores(ended, t, remote, userInput(0)) // the tower hangs on this one
	<-tower.began
	for range 2000 {
		scores(ended, t, remote, userInput(1))
	}
	close(tower.hold)
	remote.Close()
	if n := tower.calls.Load(); n != 1+1024/64 {
		t.Errorf("%d batches, want 1 and those of 1024 waiting users", n)
	}
}
