package engine_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	. "github.com/gomlx/gomlx/pkg/core/graph"

	"relish/training/engine"
)

// With many shapes, the number of loaded graphs stays at its limit, and an unloaded graph works
// again. Memory, threads and file handles do not grow with the number of shapes.
func TestManyShapesInBoundedMemory(t *testing.T) {
	b := open(t, engine.Options{Threads: 2, MaxSessions: 4})
	e, err := NewExec(b,
		func(x *Node) *Node { return ReduceAllSum(Tanh(Dot(x, Transpose(x, 0, 1)))) })
	if err != nil {
		t.Fatal(err)
	}
	e.SetMaxCache(-1)
	defer e.Finalize()
	use := func(from, to int) {
		for n := from; n < to; n++ {
			x := make([][]float32, n)
			for i := range x {
				x[i] = make([]float32, 64)
			}
			if _, err := e.Exec(x); err != nil {
				t.Fatal(err)
			}
		}
	}
	use(200, 230)
	before := usage(t)
	use(230, 300)
	use(200, 210) // unloaded since the first round
	after := usage(t)
	if b.Loaded() > 4 {
		t.Errorf("%d graphs are loaded, the bound is 4", b.Loaded())
	}
	if after.threads > before.threads+2 || after.handles > before.handles+2 {
		t.Errorf("resources grew from %+v to %+v", before, after)
	}
	if grown := after.rss - before.rss; grown > 64<<20 {
		t.Errorf("resident memory grew by %d MiB over 70 shapes", grown>>20)
	}
}

type resources struct{ rss, threads, handles int }

func usage(t *testing.T) (u resources) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch f[0] {
		case "VmRSS:":
			u.rss, _ = strconv.Atoi(f[1])
			u.rss <<= 10
		case "Threads:":
			u.threads, _ = strconv.Atoi(f[1])
		}
	}
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	u.handles = len(open)
	return u
}

// Several goroutines use one graph while other graphs evict it.
func TestConcurrentUse(t *testing.T) {
	b := open(t, engine.Options{Threads: 1, MaxSessions: 2})
	e, err := NewExec(b, func(x *Node) *Node { return ReduceAllSum(x) })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Finalize()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := range 12 {
				x := make([]float32, 1+(worker+n)%5)
				for i := range x {
					x[i] = 1
				}
				out, err := e.Exec(x)
				if err != nil {
					t.Error(err)
					return
				}
				if got := values(t, out[0]); got[0] != float64(len(x)) {
					t.Errorf("the sum of %d ones is %v", len(x), got)
				}
			}
		})
	}
	all.Wait()
}

func TestFinalized(t *testing.T) {
	b := open(t, engine.Options{})
	e, err := NewExec(b, func(x *Node) *Node { return Neg(x) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Exec([]float32{1}); err != nil {
		t.Fatal(err)
	}
	b.Finalize()
	b.Finalize() // a second call does nothing
	if _, err := e.Exec([]float32{1}); err == nil || !b.IsFinalized() || b.Loaded() != 0 {
		t.Errorf("after Finalize: %v, %d graphs loaded", err, b.Loaded())
	}
}
