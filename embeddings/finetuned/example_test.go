package finetuned_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
)

// Training writes both forms of an encoder into a bundle. A child process verifies them before a
// server loads them.
func Example() {
	ctx := context.Background()
	rt, err := onnx.Start("../../.cache/onnxruntime/libonnxruntime.so")
	if err != nil {
		log.Fatal(err)
	}
	small, err := onnx.ReadEncoderFiles("../../.cache/encoder/int8", 0)
	if err != nil {
		log.Fatal(err)
	}
	full, err := onnx.ReadEncoderFiles("../../.cache/encoder/fp32", 0)
	if err != nil {
		log.Fatal(err)
	}
	files, err := finetuned.BundleFiles(ctx, rt, small, full)
	if err != nil {
		log.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("8-bit weights:", finetuned.Verify(ctx, rt, dir, false))
	fmt.Println("32-bit weights:", finetuned.Verify(ctx, rt, dir, true))
	// Output:
	// 8-bit weights: <nil>
	// 32-bit weights: <nil>
}
