package parallel_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"relish/internal/parallel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each index and each row is worked on once, and no range is smaller than allowed.
func TestEachAndRowsCoverAllOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, n := range []int{0, 1, 3, 4, 5, 63, 64, 1000} {
		each, rows := make([]atomic.Int32, n), make([]atomic.Int32, n)
		parallel.Each(n, func(i int) { each[i].Add(1) })
		parallel.Rows(n, 32, func(from, to int) {
			if to-from < min(n, 32) {
				t.Errorf("%d rows: the range from %d to %d is too small", n, from, to)
			}
			for i := from; i < to; i++ {
				rows[i].Add(1)
			}
		})
		for i := range n {
			if e, r := each[i].Load(), rows[i].Load(); e != 1 || r != 1 {
				t.Errorf("n %d, index %d: worked on %d and %d times", n, i, e, r)
			}
		}
	}
}

// A panic of the work reaches the caller, with its stack, after all other work is done.
func TestPanic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var done atomic.Int32
	defer func() {
		p, ok := recover().(*parallel.Panic)
		if !ok || p.Value != "broken" || !strings.Contains(string(p.Stack), "TestPanic") {
			t.Errorf("recovered %+v", p)
		}
		if n := done.Load(); n != 7 {
			t.Errorf("%d of the 7 other calls ended", n)
		}
	}()
	parallel.Each(8, func(i int) {
		if i == 2 {
			panic("broken")
		}
		done.Add(1)
	})
	t.Error("Each did not panic")
}

func ExampleEach() {
	squares := make([]int, 5)
	parallel.Each(len(squares), func(i int) { squares[i] = i * i })
	fmt.Println(squares)
	// Output: [0 1 4 9 16]
}
