// Package parallel spreads the work of one request over the processors, so that a long list does not wait for one of
// them while the others idle.
//
// Both functions return when all work is done, take the caller's goroutine as one of the workers, and leave none behind.
// A panic in a part reaches the caller as a *Panic, after the other parts have ended.
package parallel

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Panic is what a part panicked with, and where. It is what Each and Rows panic with.
type Panic struct {
	Value any
	Stack []byte
}

// Each calls work for 0 to n-1, several at once.
func Each(n int, work func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	var failed atomic.Pointer[Panic]
	worker := func() {
		defer func() {
			if p := recover(); p != nil {
				failed.CompareAndSwap(nil, &Panic{p, debug.Stack()})
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
	if p := failed.Load(); p != nil {
		panic(p)
	}
}

// Rows calls work for parts of the rows 0 to n-1, several at once; each has at least least rows, if there are so many.
func Rows(n, least int, work func(from, to int)) {
	parts := max(1, min(n/least, runtime.GOMAXPROCS(0)))
	if parts == 1 {
		work(0, n)
		return
	}
	Each(parts, func(i int) { work(n*i/parts, n*(i+1)/parts) })
}
