//go:build !race

// The race detector drops entries of sync.Pool at random, so allocations are counted without it.

package embeddings_test

import (
	"context"
	"fmt"
	"testing"

	"relish/embeddings"
)

// wide returns a fake with the vector size of a real encoder.
func wide() *fake {
	m := newFake()
	m.dim, m.batchTokens = 384, 16*16
	m.started = make(chan struct{}, 1<<20)
	return m
}

func TestWarmLookupAllocations(t *testing.T) {
	s := start(t, wide(), embeddings.Options{})
	its := items("a", 1000, 8)
	out := vectors(s, its)
	// ristretto allocates one buffer for 4,096 reads; AllocsPerRun rounds that quarter down to 0.
	if n := testing.AllocsPerRun(100, func() {
		if s.Lookup(its, out) != 0 {
			t.Fatal("not warm")
		}
	}); n != 0 {
		t.Errorf("%g allocations for 1,000 cached items, want 0", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := start(b, wide(), embeddings.Options{})
			its := items("a", n, 8)
			out := vectors(s, its)
			b.ReportAllocs()
			for b.Loop() {
				s.Lookup(its, out)
			}
		})
	}
}

// BenchmarkTableHit looks up vectors in the table, because the cache is too small for them.
func BenchmarkTableHit(b *testing.B) {
	s := start(b, wide(), embeddings.Options{Dir: b.TempDir(), CacheBytes: 4 << 10})
	its := items("a", 1000, 8)
	out := vectors(s, its)
	b.ReportAllocs()
	for b.Loop() {
		s.Lookup(its, out)
	}
}

// BenchmarkBatcher measures what 100 misses cost besides the encoder: queue, tokenizing fake texts,
// rounding, cache.
func BenchmarkBatcher(b *testing.B) {
	m := wide()
	s := start(b, m, embeddings.Options{CacheBytes: 1 << 20})
	ctx := context.Background()
	out := make([][]float32, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		its := items(fmt.Sprint(i, "-"), 100, 12)
		b.StartTimer()
		s.Fetch(ctx, its, out)
	}
}
