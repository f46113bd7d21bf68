// Package onnxtest gives tests the real ONNX Runtime, the real text encoders and a training
// backend. It takes them from the cache folder, which make test fills.
package onnxtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/gomlx/backends"

	"relish/embeddings/onnx"
	"relish/training/engine"
)

// CacheDir returns the cache folder at the root of the repository. It looks for the root from the
// working directory up, because binaries built with -trimpath do not know the path of their source.
func CacheDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ".cache"
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, ".cache")
}

// Start starts the runtime. All tests of a binary share it.
func Start(t testing.TB) *onnx.Runtime {
	t.Helper()
	rt, err := onnx.Start(filepath.Join(CacheDir(), "onnxruntime", "libonnxruntime.so"))
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// Backend returns a backend that trains on the CPU until the test ends. threads is its number of
// threads, 0 for one per core.
func Backend(t testing.TB, threads int) backends.Backend {
	t.Helper()
	b, err := engine.New(Start(t), engine.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

// EncoderFiles reads the encoder with the name int8 or fp32.
func EncoderFiles(t testing.TB, name string) *onnx.EncoderFiles {
	t.Helper()
	f, err := onnx.ReadEncoderFiles(filepath.Join(CacheDir(), "encoder", name), 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// EncodeTexts encodes texts one by one, and returns their unit vectors, nil for a text without
// tokens.
func EncodeTexts(t testing.TB, f *onnx.EncoderFiles, texts ...string) (vectors [][]float32) {
	t.Helper()
	e, err := Start(t).NewEncoder(t.Context(), f, onnx.EncoderOptions{Device: "cpu", Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, text := range texts {
		one, err := e.Encode(t.Context(), [][]int32{e.Tokenize(nil, text)})
		if err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, one[0])
	}
	return vectors
}
