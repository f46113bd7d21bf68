package engine_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"relish/embeddings/onnx"
	"relish/internal/onnxtest"
	"relish/training/engine"
)

// An exported transformer with a free batch size computes the same values in the serving runtime as
// in GoMLX. The test uses batch sizes that differ from those of the traces.
func TestExport(t *testing.T) {
	b, w, r := open(t, engine.Options{}), newWeights(4), rand.New(rand.NewPCG(4, 4))
	step := stepper(t, b, w, func(in []*Node) *Node { return small.loss(w, in[0], in[1], in[2]) })
	for range 3 {
		step(pick(r, small.items, 3, small.length), pick(r, small.items, 3, small.length),
			pick(r, small.items, 7))
	}
	forward := func(ctx *context.Context, in []*Node) []*Node {
		x := small.states(weights{ctx, nil}, in[0])
		last := Squeeze(Slice(x, AxisRange(), AxisElem(small.length-1), AxisRange()), 1)
		position := Iota(in[0].Graph(), shapes.Make(dtypes.Float32, x.Shape().Dimensions[0], 1), 0)
		centred := Sub(last, InsertAxes(ReduceMean(last, 0), 0)) // divides by the batch size
		return []*Node{last, Add(centred, position), ReduceAllSum(last)}
	}
	inputs := []engine.Input{
		{Name: "history", DType: dtypes.Int32, Dims: []int{engine.Batch, small.length}},
	}
	model, err := engine.Export(w.ctx, inputs, []string{"user", "centred", "total"}, forward)
	if err != nil {
		t.Fatal(err)
	}
	p, err := onnxtest.Start(t).LoadGraph(model, onnx.GraphOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	names := strings.Join(append(p.Inputs(), p.Outputs()...), " ")
	if names != "history user centred total" {
		t.Errorf("inputs and outputs are %s", names)
	}
	here, err := context.NewExec(b, w.ctx.Reuse(), forward)
	if err != nil {
		t.Fatal(err)
	}
	defer here.Finalize()
	for _, size := range []int{1, 2, 37} {
		history := pick(r, small.items, size, small.length)
		want, err := here.Exec(history)
		if err != nil {
			t.Fatal(err)
		}
		var flat []int32
		err = history.ConstFlatData(func(f any) { flat = append(flat, f.([]int32)...) })
		if err != nil {
			t.Fatal(err)
		}
		user, centred := make([]float32, size*small.dim), make([]float32, size*small.dim)
		total := make([]float32, 1)
		wide := []int64{int64(size), int64(small.dim)}
		err = p.Run(
			t.Context(),
			[]onnx.Tensor{{Shape: []int64{int64(size), int64(small.length)}, Data: flat}},
			[]onnx.Tensor{
				{Shape: wide, Data: user},
				{Shape: wide, Data: centred},
				{Shape: []int64{1}, Data: total},
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range [][]float32{user, centred, total} {
			tensor := tensors.FromFlatDataAndDimensions(got, len(got))
			if !almostEqual(values(t, tensor), values(t, want[i]), 1e-5) {
				t.Errorf("batch of %d: output %d differs from GoMLX", size, i)
			}
		}
	}
}

func TestExportRefuses(t *testing.T) {
	one := []engine.Input{{Name: "x", DType: dtypes.Float32, Dims: []int{engine.Batch, 2}}}
	for _, c := range []struct {
		name, want string
		inputs     []engine.Input
		outputs    []string
		forward    func(ctx *context.Context, in []*Node) []*Node
	}{
		{"random numbers", "random", one, []string{"y"},
			func(_ *context.Context, in []*Node) []*Node {
				g := in[0].Graph()
				state := RNGStateFromSeedForGraph(g, 1)
				_, r := RandomUniform(state, shapes.Make(dtypes.Float32, 2))
				return []*Node{Add(in[0], InsertAxes(r, 0))}
			}},
		{"a square of the batch size", "not linear", one, []string{"y"},
			func(_ *context.Context, in []*Node) []*Node {
				n := in[0].Shape().Dimensions[0]
				return []*Node{MulScalar(in[0], n*n)}
			}},
		{"a constant of the batch size", "depends on the batch size", one, []string{"y"},
			func(_ *context.Context, in []*Node) []*Node {
				column := Const(in[0].Graph(), make([]float32, in[0].Shape().Dimensions[0]))
				return []*Node{Mul(in[0], InsertAxes(column, -1))}
			}},
		{"another graph for a large batch", "structure", one, []string{"y"},
			func(_ *context.Context, in []*Node) []*Node {
				if in[0].Shape().Dimensions[0] > 1010 {
					return []*Node{Neg(in[0])}
				}
				return []*Node{Exp(in[0])}
			}},
		{"too few names", "names", one, nil,
			func(_ *context.Context, in []*Node) []*Node { return []*Node{Neg(in[0])} }},
		{"a scalar input", "scalar", []engine.Input{{Name: "x", DType: dtypes.Float32}},
			[]string{"y"},
			func(_ *context.Context, in []*Node) []*Node { return []*Node{Neg(in[0])} }},
		{"a panic", "shape", one, []string{"y"}, func(_ *context.Context, in []*Node) []*Node {
			return []*Node{Add(in[0], Const(in[0].Graph(), []float32{1, 2, 3}))}
		}},
		{"an unknown parameter", "neither an input", one, []string{"y"},
			func(_ *context.Context, in []*Node) []*Node {
				return []*Node{Add(in[0],
					Parameter(in[0].Graph(), "stray", shapes.Make(dtypes.Float32)))}
			}},
	} {
		_, err := engine.Export(nil, c.inputs, c.outputs, c.forward)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}
