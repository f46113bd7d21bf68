package embeddings_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"relish/embeddings"
	"relish/embeddings/vectortable"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an encoder with one token for each byte. A text's vector depends on the text and the
// digest. A text that contains "poison" makes its batch fail. One that begins with "∅" has no
// token.
type fake struct {
	dim, parallel, batchTokens int
	digest                     string
	mixes                      bool // see MixesBuckets

	mu      sync.Mutex
	batches [][]string    // the texts of every run, in order of their starts
	block   chan struct{} // nil, or runs wait until it is closed or one value arrives for each
	started chan struct{} // one value for each run

	tokenless atomic.Int64          // texts without a token that were tokenized
	broken    atomic.Pointer[error] // every run fails with it
	moved     atomic.Bool           // the encoder has moved to a device with smaller batches
}

func newFake() *fake {
	return &fake{dim: 16, parallel: 1, batchTokens: 8 * 16, digest: strings.Repeat("0f", 32),
		started: make(chan struct{}, 10_000)}
}

// hold makes runs wait until the returned function is called.
func (f *fake) hold() (release func()) {
	c := make(chan struct{})
	f.mu.Lock()
	f.block = c
	f.mu.Unlock()
	return sync.OnceFunc(func() {
		f.mu.Lock()
		f.block = nil
		f.mu.Unlock()
		close(c)
	})
}

// step makes runs wait. Each call of the returned function lets one of them go on.
func (f *fake) step() (next func()) {
	c := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.block = c
	return func() { c <- struct{}{} }
}

func (f *fake) Tokenize(dst []int32, text string) []int32 {
	if strings.HasPrefix(text, "∅") {
		f.tokenless.Add(1)
		return dst
	}
	for i := 0; i < min(len(text), f.MaxTokens()); i++ {
		dst = append(dst, int32(text[i]))
	}
	return dst
}

func (f *fake) Run(ctx context.Context, batch [][]int32, out [][]float32) error {
	texts := make([]string, len(batch))
	for i, ids := range batch {
		for _, id := range ids {
			texts[i] += string(id)
		}
	}
	f.mu.Lock()
	f.batches = append(f.batches, texts)
	block := f.block
	f.mu.Unlock()
	f.started <- struct{}{}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := f.broken.Load(); err != nil {
		return *err
	}
	for i, text := range texts {
		if strings.Contains(text, "poison") {
			return errors.New("output is not finite")
		}
		copy(out[i], f.vector(text))
	}
	return nil
}

// vector returns a text's unit vector, before it is rounded.
func (f *fake) vector(text string) []float32 {
	seed := ranker.TextKey(text) ^ binary.LittleEndian.Uint64([]byte(f.digest))
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, f.dim)
	var sum float64
	for i := range v {
		v[i] = float32(r.NormFloat64())
		sum += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

func (f *fake) Bucket(n int) int   { return (n + 15) / 16 * 16 }
func (f *fake) MixesBuckets() bool { return f.mixes }
func (f *fake) Dim() int           { return f.dim }
func (f *fake) MaxTokens() int     { return 128 }
func (f *fake) Parallel() int      { return f.parallel }
func (f *fake) Digest() string     { return f.digest }
func (f *fake) BatchTokens() int {
	if f.moved.Load() {
		return f.batchTokens / 4
	}
	return f.batchTokens
}

func (f *fake) runs() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// texts returns how often each text was run.
func (f *fake) texts() map[string]int {
	n := map[string]int{}
	for _, b := range f.runs() {
		for _, t := range b {
			n[t]++
		}
	}
	return n
}

func start(t testing.TB, m embeddings.Model, opt embeddings.Options) *embeddings.Service {
	t.Helper()
	s, err := embeddings.New(m, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func item(text string) *ranker.ItemInfo {
	return ranker.NewItemInfo(ranker.Item{ID: text, Title: text}, nil)
}

// items returns n items whose texts start with prefix and have the given length, at least prefix
// and 5.
func items(prefix string, n, length int) []*ranker.ItemInfo {
	all := make([]*ranker.ItemInfo, n)
	for i := range all {
		text := fmt.Sprintf("%s%05d", prefix, i)
		all[i] = item(text + strings.Repeat("x", max(0, length-len(text))))
	}
	return all
}

// check fails the test unless out holds the items' rounded vectors.
func (f *fake) check(t testing.TB, its []*ranker.ItemInfo, out [][]float32) {
	t.Helper()
	for i, it := range its {
		want := f.vector(it.Body())
		vectortable.RoundToFloat16(want)
		if !slices.Equal(out[i], want) {
			t.Fatalf("item %d has a wrong vector (nil: %t)", i, out[i] == nil)
		}
	}
}

// each yields the items without an error.
func each(its []*ranker.ItemInfo) iter.Seq2[*ranker.ItemInfo, error] {
	return func(yield func(*ranker.ItemInfo, error) bool) {
		for _, it := range its {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// vectors fetches without a deadline.
func vectors(s *embeddings.Service, its []*ranker.ItemInfo) [][]float32 {
	out := make([][]float32, len(its))
	s.Fetch(context.Background(), its, out)
	return out
}

// present counts the vectors that are not nil.
func present(out [][]float32) (n int) {
	for _, v := range out {
		if v != nil {
			n++
		}
	}
	return n
}
