package onnx_test

import (
	"context"
	"fmt"
	"log"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
)

// An encoder turns texts into unit vectors. Their inner product is the cosine similarity.
func Example() {
	ctx := context.Background()
	rt, err := onnx.Start("../../.cache/onnxruntime/libonnxruntime.so")
	if err != nil {
		log.Fatal(err)
	}
	files, err := onnx.ReadEncoderFiles("../../.cache/encoder/int8", 0)
	if err != nil {
		log.Fatal(err)
	}
	encoder, err := rt.NewEncoder(ctx, files, onnx.EncoderOptions{Device: "cpu"})
	if err != nil {
		log.Fatal(err)
	}
	defer encoder.Close()

	var batch [][]int32
	for _, text := range []string{"wireless headphones", "bluetooth earbuds", "garden hose"} {
		batch = append(batch, encoder.Tokenize(nil, text))
	}
	vectors, err := encoder.Encode(ctx, batch)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("dimensions:", len(vectors[0]))
	similar, different := vek32.Dot(vectors[0], vectors[1]), vek32.Dot(vectors[0], vectors[2])
	fmt.Println("earbuds are closer than the hose:", similar > different+0.2)
	// Output:
	// dimensions: 384
	// earbuds are closer than the hose: true
}
