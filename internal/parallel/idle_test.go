package parallel_test

import (
	"runtime"
	"testing"

	"relish/internal/parallel"
)

// A processor is idle while fewer requests are being worked on than there are processors.
func TestHasIdle(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	for n := range processors {
		if !parallel.HasIdle() {
			t.Errorf("no processor of %d is idle with %d requests", processors, n)
		}
		parallel.Enter()
	}
	if parallel.HasIdle() {
		t.Errorf("a processor of %d is idle with as many requests", processors)
	}
	for range processors {
		parallel.Leave()
	}
	if !parallel.HasIdle() {
		t.Error("no processor is idle without requests")
	}
}
