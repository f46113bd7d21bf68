package ranker_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"relish/ranker"
)

func TestLifetimeClosesAfterTheLastUser(t *testing.T) {
	closed := 0
	m := &ranker.Model{Lifetime: ranker.NewLifetime(func() { closed++ })}
	copied := *m
	if !m.Acquire() || !copied.Acquire() {
		t.Fatal("an open model cannot be acquired")
	}
	m.Release() // the owner
	copied.Release()
	if closed != 0 {
		t.Fatal("closed while in use")
	}
	m.Release()
	if closed != 1 {
		t.Fatalf("closed %d times", closed)
	}
	if m.Acquire() || copied.Acquire() {
		t.Error("a closed model was acquired")
	}
	defer func() {
		if recover() == nil {
			t.Error("one release too many is not noticed")
		}
	}()
	m.Release()
}

func TestModelWithoutLifetime(t *testing.T) {
	for _, m := range []*ranker.Model{nil, {}} {
		for range 2 {
			if !m.Acquire() {
				t.Error("not acquired")
			}
			m.Release()
			m.Release()
		}
	}
}

// Whatever the order of Acquire and Release, nothing is used after it was closed.
func TestLifetimeConcurrently(t *testing.T) {
	for range 200 {
		var closed atomic.Bool
		l := ranker.NewLifetime(func() { closed.Store(true) })
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for range 1000 {
					if !l.Acquire() {
						return
					}
					if closed.Load() {
						t.Error("closed while in use")
					}
					l.Release()
				}
			})
		}
		l.Release()
		users.Wait()
		if !closed.Load() {
			t.Error("not closed")
		}
	}
}
