package finetuned_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/viterin/vek/vek32"
	"go.uber.org/goleak"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/internal/onnxtest"
	"relish/ranker"
	"relish/ranker/bundle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files is an encoder that no other test has: the prompt is part of every text, and of the digest.
func files(t testing.TB, form, prompt string) *onnx.EncoderFiles {
	t.Helper()
	f := onnxtest.EncoderFiles(t, form)
	f.Prompt = prompt
	return f
}

// write puts an encoder into a folder as a bundle has it.
func write(t testing.TB, prompt string) (dir string, m *bundle.Manifest) {
	t.Helper()
	small, whole := files(t, "int8", prompt), files(t, "fp32", prompt)
	parts, err := finetuned.BundleFiles(t.Context(), onnxtest.Start(t), small, whole)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, data := range parts {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, &bundle.Manifest{Encoder: bundle.Encoder{ID: "tuned", FineTuned: true, Digest: small.Digest(), DigestFP32: whole.Digest()}}
}

func TestFiles(t *testing.T) {
	dir, m := write(t, "a game: ")
	for form, fp32 := range map[string]bool{"int8": false, "fp32": true} {
		want := files(t, form, "a game: ")
		got, err := finetuned.ReadFiles(dir, fp32)
		if err != nil || got.Digest() != want.Digest() || got.Prompt != "a game: " || got.Pooling != "mean" || got.MaxTokens != 128 {
			t.Errorf("%s: %v", form, err)
		}
	}
	if err := finetuned.Verify(t.Context(), onnxtest.Start(t), dir); err != nil {
		t.Error(err)
	}
	m.Encoder.Digest = strings.Repeat("0", 64)
	if _, err := finetuned.Open(dir, m, finetuned.Options{Runtime: onnxtest.Start(t)}); err == nil || !strings.Contains(err.Error(), "the manifest says 000000000000") {
		t.Errorf("another digest: %v", err)
	}
}

// A model with damaged weights loads, and gives other vectors: the trial finds out. So it does for settings that do not fit.
func TestTry(t *testing.T) {
	for name, damage := range map[string]struct {
		file   string
		change func([]byte) []byte
		says   string
	}{
		"weights": {bundle.EncoderInt8File, func(b []byte) []byte {
			at := len(b) / 3 // within the token table and the layers' weights
			for i := range 200_000 {
				b[at+i*4] ^= 0x40
			}
			return b
		}, "cosine"},
		"no model": {bundle.EncoderInt8File, func([]byte) []byte { return []byte("x") }, "model.onnx"},
		"pooling":  {bundle.EncoderSettingsFile, func(b []byte) []byte { return bytes.Replace(b, []byte("mean"), []byte("most"), 1) }, "pooling"},
		"a probe of another width": {bundle.EncoderSettingsFile, func(b []byte) []byte {
			var s map[string]any
			if err := json.Unmarshal(b, &s); err != nil {
				panic(err)
			}
			s["probe"].(map[string]any)["int8"] = []float32{1}
			out, _ := json.Marshal(s)
			return out
		}, "1"},
		"no settings": {bundle.EncoderSettingsFile, func([]byte) []byte { return nil }, bundle.EncoderSettingsFile},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := write(t, "")
			path := filepath.Join(dir, damage.file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage.change(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := finetuned.Verify(t.Context(), onnxtest.Start(t), dir); err == nil || !strings.Contains(err.Error(), damage.says) {
				t.Errorf("%v, want %q", err, damage.says)
			}
		})
	}
}

// catalogue is items that a keeper encodes; the first walks fail.
type catalogue struct {
	mu    sync.Mutex
	items []*ranker.ItemInfo
	fail  int
}

func (c *catalogue) all(context.Context) iter.Seq2[*ranker.ItemInfo, error] {
	return func(yield func(*ranker.ItemInfo, error) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.fail--; c.fail >= 0 {
			yield(nil, errors.New("the disk is gone"))
			return
		}
		for _, it := range c.items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

func item(i int) *ranker.ItemInfo {
	return ranker.NewItemInfo(ranker.Item{ID: fmt.Sprint("i", i), Title: fmt.Sprint("a puzzle about number ", i)}, nil)
}

func items(n int) (out []*ranker.ItemInfo) {
	for i := range n {
		out = append(out, item(i))
	}
	return out
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func keeper(t testing.TB, c *catalogue, dir string) *finetuned.EncoderPool {
	t.Helper()
	opt := finetuned.Options{Runtime: onnxtest.Start(t), Encoder: onnx.EncoderOptions{Device: "cpu", Sessions: 1},
		Vectors: embeddings.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}}
	return finetuned.NewEncoderPool(opt, c.all)
}

// An encoder encodes the catalogue as soon as it is open, and what is new after that; bundles with the same one share it.
func TestKeeper(t *testing.T) {
	dir, m := write(t, "a game: ")
	c := &catalogue{items: items(40), fail: 1}
	k := keeper(t, c, t.TempDir())
	v, err := k.Open(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.Open(dir, m)
	if err != nil || len(k.Digests()) != 1 {
		t.Fatalf("%v, %v", k.Digests(), err)
	}
	<-k.Changed()
	if w := k.Waiting(v) + k.Waiting(again); w != "" {
		t.Errorf("it waits for %s", w)
	}
	out := make([][]float32, 40)
	if missing := v.Lookup(c.items, out); missing != 0 {
		t.Errorf("%d vectors are missing", missing)
	}
	base := onnxtest.EncodeTexts(t, files(t, "int8", ""), c.items[0].Body())[0]
	if vek32.Dot(base, out[0]) > 0.9999 {
		t.Error("the vector is the base encoder's")
	}
	fresh := []*ranker.ItemInfo{item(1000)}
	k.Enqueue(fresh)
	eventually(t, "a new item has a vector", func() bool { return again.Lookup(fresh, make([][]float32, 1)) == 0 })
	if err := k.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := k.Open(dir, m); !errors.Is(err, embeddings.ErrClosed) {
		t.Errorf("opened after the end: %v", err)
	}
}

// An encoder is let go after the last model that held it, and comes back with the vectors that it had.
func TestKeeperLetsGo(t *testing.T) {
	dir, m := write(t, "")
	c, tables := &catalogue{items: items(20)}, t.TempDir()
	k := keeper(t, c, tables)
	v, err := k.Open(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Open(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	<-k.Changed()
	runtime.KeepAlive(v)
	runtime.GC()
	if out := make([][]float32, 20); w.Lookup(c.items, out) != 0 || len(k.Digests()) != 1 {
		t.Error("it was let go while a model holds it")
	}
	runtime.KeepAlive(w)
	before := k.Stats()
	eventually(t, "the encoder is let go", func() bool { runtime.GC(); return len(k.Digests()) == 0 })
	eventually(t, "it takes no memory", func() bool { return k.Stats().CacheLimit == 0 })
	if after := k.Stats(); before.Encodes != 20 || after.Encodes != 20 || after.Hits < before.Hits {
		t.Errorf("figures fell from %+v to %+v", before, after)
	}
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	k = keeper(t, c, tables)
	defer k.Close(t.Context())
	if v, err = k.Open(dir, m); err != nil {
		t.Fatal(err)
	}
	if missing := v.Lookup(c.items, make([][]float32, 20)); missing != 0 {
		t.Errorf("%d vectors have to be encoded again", missing)
	}
	runtime.KeepAlive(v)
}

// Closing ends an encoding that is under way.
func TestKeeperEndsEarly(t *testing.T) {
	dir, m := write(t, "")
	k := keeper(t, &catalogue{items: items(5000)}, t.TempDir())
	v, err := k.Open(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	if k.Waiting(v) == "" {
		t.Error("5,000 texts are there at once")
	}
	if err := k.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
