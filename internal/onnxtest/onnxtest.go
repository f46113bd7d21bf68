// Package onnxtest gives tests the real runtime, the real encoders and a backend that trains, out of the cache folder that
// make test fills.
package onnxtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/gomlx/backends"

	"relish/embeddings/onnx"
	"relish/training/engine"
)

// CacheDir is the cache folder at the root of the repository, wherever the test runs. It looks for the
// root from the working directory up, because binaries built with -trimpath do not know their source.
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

// Start starts the runtime, once for all tests of a binary.
func Start(t testing.TB) *onnx.Runtime {
	t.Helper()
	rt, err := onnx.Start(filepath.Join(CacheDir(), "onnxruntime", "libonnxruntime.so"))
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// Backend trains on the CPU, on so many threads (0: as many as there are cores), until the test ends.
func Backend(t testing.TB, threads int) backends.Backend {
	t.Helper()
	b, err := engine.New(Start(t), engine.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

// EncoderFiles reads the encoder of that name: int8 or fp32.
func EncoderFiles(t testing.TB, name string) *onnx.EncoderFiles {
	t.Helper()
	f, err := onnx.ReadEncoderFiles(filepath.Join(CacheDir(), "encoder", name), 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// EncodeTexts encodes texts, each by itself, by an encoder of these files; nil for a text without tokens.
func EncodeTexts(t testing.TB, f *onnx.EncoderFiles, texts ...string) (out [][]float32) {
	t.Helper()
	e, err := Start(t).NewEncoder(f, onnx.EncoderOptions{Device: "cpu", Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, s := range texts {
		alone, err := e.Encode(t.Context(), [][]int32{e.Tokenize(nil, s)})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, alone[0])
	}
	return out
}
