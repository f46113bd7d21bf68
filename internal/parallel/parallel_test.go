package parallel_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"relish/internal/parallel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every index is worked on once, every row belongs to one part, and no part is smaller than it may be.
func TestAllOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, n := range []int{0, 1, 3, 4, 5, 63, 64, 1000} {
		each, rows := make([]atomic.Int32, n), make([]atomic.Int32, n)
		parallel.Each(n, func(i int) { each[i].Add(1) })
		parallel.Rows(n, 32, func(from, to int) {
			if to-from < min(n, 32) {
				t.Errorf("%d rows: a part from %d to %d", n, from, to)
			}
			for i := from; i < to; i++ {
				rows[i].Add(1)
			}
		})
		for i := range n {
			if each[i].Load() != 1 || rows[i].Load() != 1 {
				t.Errorf("%d of %d: %d and %d times", i, n, each[i].Load(), rows[i].Load())
			}
		}
	}
}

// A part's panic reaches the caller, with its place, once the others have ended.
func TestPanic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var ended atomic.Int32
	defer func() {
		p, ok := recover().(*parallel.Panic)
		if !ok || p.Value != "broken" || !strings.Contains(string(p.Stack), "TestPanic") || ended.Load() != 7 {
			t.Errorf("%+v, %d others", p, ended.Load())
		}
	}()
	parallel.Each(8, func(i int) {
		if i == 2 {
			panic("broken")
		}
		ended.Add(1)
	})
	t.Error("nothing panicked")
}
