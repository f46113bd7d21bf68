//go:build !race

// The race detector keeps memory of its own, so memory is measured without it.

package onnx

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

// residentMemory returns the bytes of this process in memory, native memory included.
func residentMemory(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * os.Getpagesize()
}

// Batches of any shape run within the memory of the largest ones. The runtime keeps the memory of
// each session's largest run, so the tokens of a batch are limited.
func TestMemoryStaysFlatOverShapes(t *testing.T) {
	e := int8Encoder(t)
	run := func(rows, tokens int) {
		batch, out := make([][]int32, rows), make([][]float32, rows)
		for i := range batch {
			batch[i], out[i] = make([]int32, tokens), make([]float32, e.Dim())
			for k := range batch[i] {
				batch[i][k] = int32(1000 + k)
			}
		}
		if err := e.Run(t.Context(), batch, out); err != nil {
			t.Fatal(err)
		}
	}
	rowsOf := func(tokens int) int { return max(1, e.BatchTokens()/e.Bucket(tokens)) }
	for range 2 * e.Parallel() { // every session
		for tokens := 1; tokens <= e.MaxTokens(); tokens = e.Bucket(tokens) + 1 {
			run(rowsOf(tokens), tokens)
		}
	}
	warm := residentMemory(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 250 {
		tokens := 3 + rng.IntN(e.MaxTokens()-2)
		run(1+rng.IntN(rowsOf(tokens)), tokens)
	}
	after := residentMemory(t)
	t.Logf("%d MiB, after 250 runs %d MiB", warm>>20, after>>20)
	if after > warm+warm/20 {
		t.Errorf("memory grew from %d MiB to %d MiB in 250 runs", warm>>20, after>>20)
	}
}

// An encoder on a CPU has its model, of 23 MB, in the memory of the runtime only.
func TestModelIsNotKeptTwice(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	e := int8Encoder(t)
	after := heap()
	runtime.KeepAlive(e)
	if after > before+10<<20 {
		t.Errorf("an encoder keeps %d MiB of Go's heap", (after-before)>>20)
	}
}

// Loading an encoder and closing it again leaves nothing behind: the second half of 100 reloads
// needs no more memory than the first half.
func TestMemoryStaysFlatOverReloads(t *testing.T) {
	files, err := ReadEncoderFiles(filepath.Join(cache, "encoder", "int8"), 0)
	if err != nil {
		t.Fatal(err)
	}
	sessions := start(t).OpenSessions()
	reload := func() {
		e, err := start(t).NewEncoder(t.Context(), files,
			EncoderOptions{Device: "cpu", Sessions: 1})
		if err != nil {
			t.Fatal(err)
		}
		if n := start(t).OpenSessions(); n != sessions+1 {
			t.Fatalf("%d sessions are open, want %d", n, sessions+1)
		}
		e.Close()
		if n := start(t).OpenSessions(); n != sessions {
			t.Fatalf("%d sessions are open after Close, want %d", n, sessions)
		}
	}
	var peaks [2]int
	for i := range 100 {
		reload()
		peaks[i/50] = max(peaks[i/50], residentMemory(t))
	}
	t.Logf("at most %d MiB, then %d MiB", peaks[0]>>20, peaks[1]>>20)
	if peaks[1] > peaks[0]+peaks[0]/20 {
		t.Errorf("memory grew from %d MiB to %d MiB in 50 reloads", peaks[0]>>20, peaks[1]>>20)
	}
}
