package onnxfile_test

import (
	"fmt"
	"log"
	"os"

	"relish/embeddings/onnxfile"
)

// Fine-tuning replaces weights in an encoder's file and quantizes the result for the CPU.
func Example() {
	data, err := os.ReadFile("../../.cache/encoder/fp32/model.onnx")
	if err != nil {
		log.Fatal(err)
	}
	model, err := onnxfile.Parse(data)
	if err != nil {
		log.Fatal(err)
	}
	const name = "embeddings.LayerNorm.bias"
	bias, dims := model.Floats(name)
	bias[0] += 0.01
	if err := model.SetFloats(name, bias); err != nil {
		log.Fatal(err)
	}
	small, err := model.Quantize()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(name, dims)
	fmt.Println("less than a third of the size:", 3*len(small) < len(data))
	// Output:
	// embeddings.LayerNorm.bias [384]
	// less than a third of the size: true
}
