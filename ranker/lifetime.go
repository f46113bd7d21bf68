package ranker

import "sync/atomic"

// Lifetime counts the users of something that the garbage collector cannot free, such as the native
// sessions of a model, and closes it after the last user.
//
// It is created with one user, its owner. A nil *Lifetime belongs to something that is never
// closed. It is safe for concurrent use.
type Lifetime struct {
	users     atomic.Int64 // 0 once closed; it never rises from 0
	onRelease func()
}

// NewLifetime returns a lifetime with one user. After the last Release, closed is called once, by
// the goroutine of that Release; it must not block.
func NewLifetime(closed func()) *Lifetime {
	l := &Lifetime{onRelease: closed}
	l.users.Store(1)
	return l
}

// Acquire adds a user, who calls Release when done. It returns false if the last user is gone: then
// the thing is closed and must not be used.
func (l *Lifetime) Acquire() bool {
	if l == nil {
		return true
	}
	for {
		n := l.users.Load()
		if n == 0 {
			return false
		}
		if l.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release removes a user. Each Acquire that returned true needs one Release, and so does the owner.
func (l *Lifetime) Release() {
	if l == nil {
		return
	}
	switch n := l.users.Add(-1); {
	case n == 0:
		l.onRelease()
	case n < 0:
		panic("ranker: a Lifetime was released more often than it was acquired")
	}
}

// Acquire adds a user to the model's lifetime. It returns false if the model is closed. A nil model
// can always be acquired.
func (m *Model) Acquire() bool { return m == nil || m.Lifetime.Acquire() }

// Release removes a user from the model's lifetime. The model is closed after its last user.
func (m *Model) Release() {
	if m != nil {
		m.Lifetime.Release()
	}
}
