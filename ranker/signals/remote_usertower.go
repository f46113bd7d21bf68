package signals

import (
	"context"
	"fmt"
	"sync"
	"time"

	"relish/ranker"
)

// UserTowerFile is the two-tower model's user tower in a bundle, as an ONNX graph for a GPU.
const UserTowerFile = "two_tower.onnx"

// UserTower computes the user tower of a two-tower model outside Go, for many users at once.
type UserTower interface {
	// EncodeUsers encodes n histories. history is n x HistoryLength x Dim, each history oldest
	// first and padded with zeros. newest is n x HistoryLength, 1 at the position of each history's
	// last item. It writes users, n x Dim. It is called by one goroutine at a time.
	EncodeUsers(n int, history, newest, users []float32) error
}

const (
	maxUserBatch = 64 // users that are encoded at once
	// maxWaitingUsers bounds the users that wait for a tower that hangs. Further users are encoded
	// in Go at once.
	maxWaitingUsers = 16 * maxUserBatch
	// towerPause is how long a tower that has failed is left alone, so that requests do not wait
	// for runs that fail.
	towerPause = 5 * time.Second
)

// RemoteUserTower is a two-tower model whose user tower a UserTower computes, for example on a GPU.
//
// The users of all requests that arrive while a batch is computed are the next batch. No request
// waits for others to arrive. If the tower fails, or takes longer than the request has, the user is
// encoded in Go, and after a failure all users are for 5 seconds. It is safe for concurrent use.
type RemoteUserTower struct {
	*TwoTower
	tower   UserTower
	onError func(error)

	mu          sync.Mutex
	waiting     []*pendingUser
	running     bool
	pausedUntil time.Time      // the tower has failed
	worker      sync.WaitGroup // waits for the goroutine of run, if there is one
}

var _ ranker.Signal = (*RemoteUserTower)(nil)

// NewRemoteUserTower returns the signal. onError is called with each failure of the tower; it must
// not block.
func NewRemoteUserTower(m *TwoTower, tower UserTower, onError func(error)) *RemoteUserTower {
	return &RemoteUserTower{TwoTower: m, tower: tower, onError: onError}
}

// pendingUser is the user of one request. user and err are valid once done is closed.
type pendingUser struct {
	history [][]float32
	user    []float32
	err     error
	done    chan struct{}
}

// InMemory implements ranker.InMemory: Compute waits for the tower.
func (*RemoteUserTower) InMemory() bool { return false }

// Compute implements ranker.Signal.
func (r *RemoteUserTower) Compute(
	ctx context.Context, in *ranker.SignalInput, out []float32,
) error {
	return r.compute(in, out, func(history [][]float32) []float32 {
		return r.userVector(ctx, history)
	})
}

// userVector encodes a history by the tower, or in Go if the tower fails or ctx ends first.
func (r *RemoteUserTower) userVector(ctx context.Context, history [][]float32) []float32 {
	p := &pendingUser{history: history, done: make(chan struct{})}
	r.mu.Lock()
	refused := len(r.waiting) >= maxWaitingUsers || time.Now().Before(r.pausedUntil)
	if !refused {
		r.waiting = append(r.waiting, p)
	}
	if !refused && !r.running {
		r.running = true
		r.worker.Go(r.run) // ends when no user waits
	}
	r.mu.Unlock()
	if refused {
		return r.UserVector(history)
	}
	select {
	case <-p.done:
		if p.err == nil {
			return p.user
		}
	case <-ctx.Done():
	}
	return r.UserVector(history)
}

// Close waits until the tower is not used any more, because a batch may outlive the requests that
// gave up on it. No Compute may run or follow. Call it before closing the tower.
func (r *RemoteUserTower) Close() { r.worker.Wait() }

// run encodes batch after batch until no user waits.
func (r *RemoteUserTower) run() {
	for {
		r.mu.Lock()
		n := min(len(r.waiting), maxUserBatch)
		if n == 0 {
			r.running = false
			r.mu.Unlock()
			return
		}
		batch := r.waiting[:n:n]
		r.waiting = append([]*pendingUser(nil), r.waiting[n:]...)
		r.mu.Unlock()
		err := r.encode(batch)
		if err != nil {
			r.onError(err)
			r.mu.Lock()
			r.pausedUntil = time.Now().Add(towerPause)
			batch, r.waiting = append(batch, r.waiting...), nil
			r.mu.Unlock()
		}
		for _, p := range batch {
			p.err = err
			close(p.done)
		}
	}
}

// encode fills in the users of a batch. The batch is padded to a power of two, so that the runtime
// has to plan few shapes.
func (r *RemoteUserTower) encode(batch []*pendingUser) (err error) {
	defer func() {
		if p := recover(); p != nil { // the panic's value may hold a user's data
			err = fmt.Errorf("the user tower panicked with a %T; "+
				"users are encoded in Go instead", p)
		}
	}()
	n := 1
	for n < len(batch) {
		n *= 2
	}
	length, dim := r.weights.HistoryLength, r.weights.Dim
	history, newest := make([]float32, n*length*dim), make([]float32, n*length)
	users := make([]float32, n*dim)
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
	if err := r.tower.EncodeUsers(n, history, newest, users); err != nil {
		return err
	}
	for i, p := range batch {
		p.user = users[i*dim : (i+1)*dim]
		for _, x := range p.user {
			if x-x != 0 {
				return fmt.Errorf("the user tower returned the value %v, which is not finite; "+
					"users are encoded in Go instead", x)
			}
		}
	}
	return nil
}
