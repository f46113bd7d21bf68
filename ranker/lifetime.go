package ranker

import "sync/atomic"

// Lifetime counts the references to something that the garbage collector cannot free, such as the
// native sessions of a model, and closes it after the last reference is released.
//
// It is created with one reference, its owner's. A nil *Lifetime belongs to something that is never
// closed. It is safe for concurrent use.
type Lifetime struct {
	references atomic.Int64 // 0 once closed; it never rises from 0
	onRelease  func()
}

// NewLifetime returns a lifetime with one reference. After the last Release, closed is called once,
// by the goroutine of that Release; it must not block.
func NewLifetime(closed func()) *Lifetime {
	l := &Lifetime{onRelease: closed}
	l.references.Store(1)
	return l
}

// Acquire adds a reference; the caller releases it. It returns false if the last reference was
// released: then the thing is closed and must not be used.
func (l *Lifetime) Acquire() bool {
	if l == nil {
		return true
	}
	for {
		n := l.references.Load()
		if n == 0 {
			return false
		}
		if l.references.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release removes a reference. Each Acquire that returned true needs one Release, and so does the
// owner.
func (l *Lifetime) Release() {
	if l == nil {
		return
	}
	switch n := l.references.Add(-1); {
	case n == 0:
		l.onRelease()
	case n < 0:
		panic("ranker: a Lifetime was released more often than it was acquired")
	}
}

// Acquire adds a reference to the model. It returns false if the model is closed. A nil model
// can always be acquired.
func (m *Model) Acquire() bool { return m == nil || m.Lifetime.Acquire() }

// Release removes a reference to the model. The model is closed after the last one.
func (m *Model) Release() {
	if m != nil {
		m.Lifetime.Release()
	}
}
