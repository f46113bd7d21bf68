package embeddings_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/embeddings/vectortable"
	"relish/internal/onnxtest"
	"relish/ranker"
)

// loadEncoder loads the shipped encoder with 8-bit weights, with two sessions.
func loadEncoder(t testing.TB) *onnx.Encoder {
	t.Helper()
	e, err := onnxtest.Start(t).NewEncoder(t.Context(), onnxtest.EncoderFiles(t, "int8"),
		onnx.EncoderOptions{Device: "cpu", Sessions: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func encoderFolder() string { return filepath.Join(onnxtest.CacheDir(), "encoder", "int8") }

// catalogue returns n items whose texts have up to about 100 tokens.
func catalogue(n int) []*ranker.ItemInfo {
	words := strings.Fields("quiet farm fishing friends trenches great war platform family game " +
		"wireless controller black battery zombie puzzle orchestra detective wild edition")
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]*ranker.ItemInfo, n)
	for i := range all {
		text := fmt.Sprint(i)
		for range 1 + rng.IntN(4)*rng.IntN(25) {
			text += " " + words[rng.IntN(len(words))]
		}
		all[i] = item(text)
	}
	return all
}

// However the texts of a catalogue come to the encoder, the vector table gets the same vectors: all
// at once, or in parts of random size that some requests wait for and others give up.
func TestTablesAreEqual(t *testing.T) {
	model := loadEncoder(t)
	its := catalogue(120)
	read := func(dir string) [][]float32 {
		table, err := vectortable.Open(dir, model.Digest(), model.Dim(),
			vectortable.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		out := make([][]float32, len(its))
		for i, it := range its {
			out[i] = make([]float32, model.Dim())
			if !table.Read(it.TextKey, out[i]) {
				t.Fatalf("item %d has no vector", i)
			}
		}
		return out
	}
	encode := func(run func(*embeddings.Service)) [][]float32 {
		dir := t.TempDir()
		s := start(t, model, embeddings.Options{Dir: dir})
		run(s)
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return read(dir)
	}
	want := encode(func(s *embeddings.Service) {
		if err := s.EncodeAll(t.Context(), each(its), nil); err != nil {
			t.Fatal(err)
		}
	})
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(3, seed))
		got := encode(func(s *embeddings.Service) {
			shuffled := slices.Clone(its)
			rng.Shuffle(len(its), func(i, j int) {
				shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			})
			var requests sync.WaitGroup
			for len(shuffled) > 0 {
				n := min(len(shuffled), 1+rng.IntN(12))
				part := shuffled[:n]
				ctx, cancel := context.WithCancel(t.Context())
				if rng.IntN(2) == 0 {
					cancel() // its texts are encoded in the background
				}
				requests.Go(func() {
					defer cancel()
					s.Fetch(ctx, part, make([][]float32, len(part)))
				})
				shuffled = shuffled[n:]
			}
			requests.Wait()
		})
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Error("the table has other vectors than after encoding all texts at once")
		}
	}
}

// The model file is read once and changed once. Encoding copies nothing of it.
func TestModelCopiesAllocations(t *testing.T) {
	onnxtest.Start(t)
	info, err := os.Stat(filepath.Join(encoderFolder(), "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	copies := func(run func()) float64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run()
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / float64(info.Size())
	}
	var model *onnx.Encoder
	if n := copies(func() { model = loadEncoder(t) }); n > 2.5 {
		t.Errorf("loading the encoder allocates %.1f times the size of its model, want 2", n)
	}
	s := start(t, model, embeddings.Options{Dir: t.TempDir(), CacheBytes: 1 << 20})
	its := catalogue(150)
	if n := copies(func() {
		if err := s.EncodeAll(t.Context(), each(its), nil); err != nil {
			t.Error(err)
		}
		for _, it := range its[:20] {
			if _, err := s.Text(t.Context(), "where is "+it.Body()); err != nil {
				t.Error(err)
			}
		}
	}); n > 0.5 {
		t.Errorf("encoding 170 texts allocates %.1f times the size of the model", n)
	}
}
