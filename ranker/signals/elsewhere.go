package signals

import (
	"context"
	"fmt"
	"sync"

	"relish/ranker"
)

// UserTowerFile is the match model's user half in a bundle, as an ONNX graph: it is what a GPU runs.
const UserTowerFile = "two_tower.onnx"

// UserTower computes the match model's user half elsewhere than in Go, for many users at once.
type UserTower interface {
	// EncodeUsers reads n histories: history is n x Length x Dim, each oldest first and then zeros; newest is n x Length, 1 at
	// each history's last place. It fills users, n x Dim. It is called by one goroutine at a time.
	EncodeUsers(n int, history, newest, users []float32) error
}

// maxUserBatch are computed at once.
const maxUserBatch = 64

// RemoteUserTower is the match model with its user half computed by a UserHalf, which takes the users of all requests that came
// while it was at work as one batch; nobody waits for others to come. Where that fails or takes longer than the request
// has, the user is computed in Go. It is safe for concurrent use.
type RemoteUserTower struct {
	*TwoTower
	tower   UserTower
	onError func(error)

	mu      sync.Mutex
	waiting []*pendingUser
	running bool
	worker  sync.WaitGroup // the goroutine of run, while there is one
}

var _ ranker.Signal = (*RemoteUserTower)(nil)

// NewRemoteUserTower returns the matcher; failed, which must not block, hears of each failure of half.
func NewRemoteUserTower(n *TwoTower, half UserTower, failed func(error)) *RemoteUserTower {
	return &RemoteUserTower{TwoTower: n, tower: half, onError: failed}
}

// pendingUser is one request's user.
type pendingUser struct {
	history [][]float32
	user    []float32
	err     error
	done    chan struct{}
}

// Compute implements ranker.Matcher, as Neural does.
func (e *RemoteUserTower) Compute(ctx context.Context, in *ranker.SignalInput, out []float32) error {
	return e.TwoTower.compute(in, out, func(history [][]float32) []float32 { return e.userVector(ctx, history) })
}

func (e *RemoteUserTower) userVector(ctx context.Context, history [][]float32) []float32 {
	c := &pendingUser{history: history, done: make(chan struct{})}
	e.mu.Lock()
	e.waiting = append(e.waiting, c)
	if !e.running {
		e.running = true
		e.worker.Go(e.run) // it ends when nobody waits
	}
	e.mu.Unlock()
	select {
	case <-c.done:
		if c.err == nil {
			return c.user
		}
	case <-ctx.Done():
	}
	return e.UserVector(history)
}

// Close waits until the tower is not used any more: a batch may outlive the requests that gave up on
// it. No Compute may be under way or follow. The owner of the tower closes the tower after it.
func (e *RemoteUserTower) Close() { e.worker.Wait() }

// run computes batch after batch until nobody waits.
func (e *RemoteUserTower) run() {
	for {
		e.mu.Lock()
		n := min(len(e.waiting), maxUserBatch)
		if n == 0 {
			e.running = false
			e.mu.Unlock()
			return
		}
		batch := e.waiting[:n:n]
		e.waiting = append([]*pendingUser(nil), e.waiting[n:]...)
		e.mu.Unlock()
		err := e.compute(batch)
		if err != nil {
			e.onError(err)
		}
		for _, c := range batch {
			c.err = err
			close(c.done)
		}
	}
}

// compute fills in the users of a batch. Its size is padded to a power of two, so that few shapes have to be planned.
func (e *RemoteUserTower) compute(batch []*pendingUser) (err error) {
	defer func() {
		if r := recover(); r != nil { // its value may hold a user's data
			err = fmt.Errorf("the match model's user half: panic with a %T", r)
		}
	}()
	n := 1
	for n < len(batch) {
		n *= 2
	}
	length, dim := e.weights.HistoryLength, e.weights.Dim
	history, newest, users := make([]float32, n*length*dim), make([]float32, n*length), make([]float32, n*dim)
	for i := range n {
		if i >= len(batch) {
			newest[i*length] = 1
			continue
		}
		for k, v := range batch[i].history {
			copy(history[(i*length+k)*dim:], v)
		}
		newest[i*length+len(batch[i].history)-1] = 1
	}
	if err := e.tower.EncodeUsers(n, history, newest, users); err != nil {
		return err
	}
	for i, c := range batch {
		c.user = users[i*dim : (i+1)*dim]
		for _, x := range c.user {
			if x-x != 0 {
				return fmt.Errorf("the match model's user half gave %v", x)
			}
		}
	}
	return nil
}
