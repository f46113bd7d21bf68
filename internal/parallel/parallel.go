// Package parallel spreads the work of one request over the processors, so that a long list does
// not wait for one processor while the others idle.
//
// Each and Rows return when all work is done. The caller's goroutine is one of the workers, and no
// goroutine stays behind. If the work panics, the caller panics with a *Panic after the other
// workers have ended.
//
// HasIdle tells whether spreading wins time, from the number of requests that are being worked on.
//
// Catch turns a panic into an error.
package parallel

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Panic is what Each and Rows panic with: the value of the work's first panic, and its stack.
type Panic struct {
	Value any
	Stack []byte
}

// Each calls work(i) for i from 0 to n-1, on up to GOMAXPROCS goroutines. work must be safe for
// concurrent use.
func Each(n int, work func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	var panicked atomic.Pointer[Panic]
	worker := func() {
		defer func() {
			if p := recover(); p != nil {
				panicked.CompareAndSwap(nil, &Panic{p, debug.Stack()})
			}
		}()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			work(i)
		}
	}
	var others sync.WaitGroup
	for range workers - 1 {
		others.Go(worker)
	}
	worker()
	others.Wait()
	if p := panicked.Load(); p != nil {
		panic(p)
	}
}

// Rows divides the rows 0 to n-1 into ranges and calls work for each range, on up to GOMAXPROCS
// goroutines. A range has at least minRows rows, unless n is smaller. work must be safe for
// concurrent use.
func Rows(n, minRows int, work func(from, to int)) {
	parts := max(1, min(n/minRows, runtime.GOMAXPROCS(0)))
	if parts == 1 {
		work(0, n)
		return
	}
	Each(parts, func(i int) { work(n*i/parts, n*(i+1)/parts) })
}
