package admission

import (
	"errors"
	"sync/atomic"
)

// Errors of Lease.Take.
var (
	// ErrTooLarge says that the request needs more than it may ever have.
	ErrTooLarge = errors.New("the request needs more memory than one request may have")
	// ErrNoMemory says that other requests hold the memory now.
	ErrNoMemory = errors.New("other requests hold the memory")
)

// Budget bounds the memory that requests hold at once. It is safe for concurrent use.
type Budget struct {
	limit int64
	taken atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Taken returns how many bytes requests hold.
func (b *Budget) Taken() int64 { return b.taken.Load() }

// Lease is what one request holds of a budget. It is not safe for concurrent use.
type Lease struct {
	budget *Budget
	limit  int64
	held   int64
}

// Lease returns an empty lease, which ends with Release. A lease that yields leaves the last
// quarter of the budget to those that do not.
func (b *Budget) Lease(yields bool) *Lease {
	limit := b.limit
	if yields {
		limit -= limit / 4
	}
	return &Lease{budget: b, limit: limit}
}

// Take adds n bytes to the lease, or returns ErrTooLarge or ErrNoMemory and adds nothing.
func (l *Lease) Take(n int64) error {
	if l.held+n > l.limit {
		return ErrTooLarge
	}
	if l.budget.taken.Add(n) > l.limit {
		l.budget.taken.Add(-n)
		return ErrNoMemory
	}
	l.held += n
	return nil
}

// Release gives everything back. The lease can be used again.
func (l *Lease) Release() {
	l.budget.taken.Add(-l.held)
	l.held = 0
}
