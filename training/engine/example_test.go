package engine_test

import (
	"fmt"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"relish/embeddings/onnxfile"
	"relish/training/engine"
)

// Export a linear model with a free batch size and list the last operators of the ONNX file. The
// operators before them compute shapes from the batch size.
func ExampleExport() {
	inputs := []engine.Input{
		{Name: "features", DType: dtypes.Float32, Dims: []int{engine.Batch, 2}},
	}
	linear := func(_ *context.Context, in []*Node) []*Node {
		weights := Const(in[0].Graph(), [][]float32{{0.5}, {-1}})
		return []*Node{Sigmoid(Dot(in[0], weights))}
	}
	model, err := engine.Export(nil, inputs, []string{"score"}, linear)
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := onnxfile.Parse(model)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, node := range file.Nodes[len(file.Nodes)-3:] {
		fmt.Println(node.Op)
	}
	// Output:
	// Gemm
	// Sigmoid
	// Identity
}
