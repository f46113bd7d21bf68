package engine_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/layers"

	"relish/training/engine"
)

var small = transformer{layers: 1, dim: 8, heads: 2, length: 5, items: 20}

// Training a transformer gives the same loss in each step as GoMLX's own backend. This covers the
// gradients of all its operators, Adam and variables.
func TestLossCurveEqualsSimpleGo(t *testing.T) {
	curve := func(b backends.Backend) (out []float64) {
		w := newWeights(1)
		step := stepper(t, b, w,
			func(in []*Node) *Node { return small.loss(w, in[0], in[1], in[2]) })
		r := rand.New(rand.NewPCG(9, 9))
		for range 20 {
			items := pick(r, small.items, 3, small.length)
			next := pick(r, small.items, 3, small.length)
			out = append(out, step(items, next, pick(r, small.items, 7)))
		}
		return out
	}
	got, want := curve(open(t, engine.Options{})), curve(simpleGo(t))
	if !almostEqual(got, want, 1e-4) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Gradients equal finite differences of the value. The test uses float64, where finite differences
// are accurate to six digits.
func TestGradientsAgainstDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	wide := func(dims ...int) *tensors.Tensor {
		flat := make([]float64, shapes.Make(dtypes.Float64, dims...).Size())
		for i := range flat {
			flat[i] = r.NormFloat64()
		}
		return tensors.FromFlatDataAndDimensions(flat, dims...)
	}
	for _, c := range []struct {
		name string
		fn   func(in []*Node) *Node // any shape; the test sums its sine
		in   []*tensors.Tensor
	}{
		{"softmax", func(in []*Node) *Node { return Softmax(in[0], -1) },
			[]*tensors.Tensor{wide(3, 4)}},
		{"log softmax", func(in []*Node) *Node { return LogSoftmax(in[0], -1) },
			[]*tensors.Tensor{wide(3, 4)}},
		{"layer norm", func(in []*Node) *Node { return norm(in[0]) },
			[]*tensors.Tensor{wide(3, 4)}},
		{"powers", func(in []*Node) *Node { return Pow(AddScalar(Exp(in[0]), 1), in[1]) },
			[]*tensors.Tensor{wide(5), wide(5)}},
		{"quotients", func(in []*Node) *Node { return Div(in[0], AddScalar(Square(in[1]), 1)) },
			[]*tensors.Tensor{wide(3, 1), wide(1, 4)}},
		{"logistic and tanh", func(in []*Node) *Node { return Mul(Sigmoid(in[0]), Tanh(in[1])) },
			[]*tensors.Tensor{wide(4), wide(4)}},
		{"logarithm", func(in []*Node) *Node { return Log1P(Square(in[0])) },
			[]*tensors.Tensor{wide(4)}},
		{"maximum and minimum", func(in []*Node) *Node {
			return Sub(Max(in[0], in[1]),
				Min(in[0], MulScalar(in[1], 2)))
		}, []*tensors.Tensor{wide(6), wide(6)}},
		{"maximum along an axis", func(in []*Node) *Node { return ReduceMax(in[0], 1) },
			[]*tensors.Tensor{wide(3, 4)}},
		{"where", func(in []*Node) *Node {
			return Where(GreaterThan(in[0], in[1]), Square(in[0]), in[1])
		}, []*tensors.Tensor{wide(6), wide(6)}},
		{"slices", func(in []*Node) *Node {
			slice := Slice(in[0], AxisRange(), AxisRange(1, 4).Stride(2))
			return Concatenate([]*Node{slice, in[1]}, 1)
		}, []*tensors.Tensor{wide(2, 5), wide(2, 1)}},
		{"rows, with duplicates", func(in []*Node) *Node {
			return Gather(in[0], Const(in[0].Graph(), [][]int32{{2}, {0}, {2}, {2}}))
		}, []*tensors.Tensor{wide(3, 2)}},
		{"a sum of rows, with duplicates", func(in []*Node) *Node {
			return Scatter(Const(in[0].Graph(), [][]int32{{1}, {0}, {1}}), in[0],
				shapes.Make(dtypes.Float64, 3, 2), false, false)
		}, []*tensors.Tensor{wide(3, 2)}},
		{"matrix product", func(in []*Node) *Node { return Dot(in[0], in[1]) },
			[]*tensors.Tensor{wide(3, 4), wide(4, 2)}},
		{"matrix and vector", func(in []*Node) *Node { return Dot(in[0], in[1]) },
			[]*tensors.Tensor{wide(3, 4), wide(4)}},
		{"attention", func(in []*Node) *Node {
			share := Softmax(Einsum("bqhd,bkhd->bhqk", in[0], in[1]), -1)
			return Einsum("bhqk,bkhd->bqhd", share, in[2])
		}, []*tensors.Tensor{wide(2, 3, 2, 2), wide(2, 3, 2, 2), wide(2, 3, 2, 2)}},
		{"pooling by weights", func(in []*Node) *Node {
			return ReduceSum(Mul(InsertAxes(Softmax(in[0], -1), -1), in[1]), 1)
		}, []*tensors.Tensor{wide(2, 3), wide(2, 3, 4)}},
	} {
		t.Run(c.name,
			func(t *testing.T) { checkGradient(t, open(t, engine.Options{}), c.fn, c.in) })
	}
}

func checkGradient(
	t *testing.T, b backends.Backend, fn func(in []*Node) *Node, in []*tensors.Tensor,
) {
	value := func(in []*Node) *Node { return ReduceAllSum(Sin(fn(in))) }
	valueOf, err := NewExec(b, value)
	if err != nil {
		t.Fatal(err)
	}
	defer valueOf.Finalize()
	args := func() (out []any) {
		for _, x := range in {
			clone, err := x.LocalClone()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, clone)
		}
		return out
	}
	gradient := func(in []*Node) []*Node { return Gradient(value(in), in...) }
	gradients := run(t, b, gradient, args()...)
	const h = 1e-5
	for k, g := range gradients {
		got := values(t, g)
		want := make([]float64, len(got))
		for i := range want {
			at := func(shift float64) float64 {
				moved := args()
				err := moved[k].(*tensors.Tensor).MutableFlatData(
					func(flat any) { flat.([]float64)[i] += shift })
				if err != nil {
					t.Fatal(err)
				}
				out, err := valueOf.Exec(moved...)
				if err != nil {
					t.Fatal(err)
				}
				return values(t, out[0])[0]
			}
			want[i] = (at(h) - at(-h)) / (2 * h)
		}
		if !almostEqual(got, want, 1e-6) {
			t.Errorf("gradient of input %d: got %v, finite differences give %v", k, got, want)
		}
	}
}

// Duplicate indices lose no update. ONNX Runtime's ScatterND loses updates here with two or more
// threads.
func TestScatterWithDuplicatesUnderThreads(t *testing.T) {
	const rows, width, updates = 40, 32, 20000
	r := rand.New(rand.NewPCG(5, 5))
	index, values32 := make([][]int32, updates), make([][]float32, updates)
	want := make([]float64, rows*width)
	for i := range index {
		row := r.IntN(rows)
		index[i], values32[i] = []int32{int32(row)}, make([]float32, width)
		for k := range width {
			// Integers, so that the sum is exact in any order.
			values32[i][k] = float32(1 + r.IntN(3))
			want[row*width+k] += float64(values32[i][k])
		}
	}
	b := open(t, engine.Options{Threads: 4})
	for round := range 5 {
		out := run(t, b, func(in []*Node) []*Node {
			return []*Node{
				Scatter(in[0], in[1], shapes.Make(dtypes.Float32, rows, width), false, false),
			}
		}, index, values32)
		if got := values(t, out[0]); !slices.Equal(got, want) {
			t.Fatalf("round %d: updates were lost", round)
		}
	}
}

// On one thread, the same seed gives the same bits, also with dropout.
func TestSameSeedSameWeights(t *testing.T) {
	train := func(seed int64) map[string][]float64 {
		w := newWeights(7)
		if err := w.ctx.SetRNGStateFromSeed(seed); err != nil {
			t.Fatal(err)
		}
		step := stepper(t, open(t, engine.Options{Threads: 1}), w, func(in []*Node) *Node {
			return mlp(w, layers.DropoutStatic(w.ctx, in[0], .3), in[1], 6, 5, 4)
		})
		r := rand.New(rand.NewPCG(9, 9))
		for range 10 {
			step(noise(r, 8, 6), pick(r, 4, 8))
		}
		out := map[string][]float64{}
		for v := range w.ctx.IterVariables() {
			if v.DType() == dtypes.Float32 {
				out[v.ScopeAndName()] = values(t, v.MustValue())
			}
		}
		return out
	}
	first, again, other := train(1), train(1), train(2)
	if len(first) < 4 {
		t.Fatalf("the model has only the variables %v", first)
	}
	differs := false
	for name := range first {
		if !slices.Equal(first[name], again[name]) {
			t.Errorf("%s differs between two runs of one seed", name)
		}
		differs = differs || !slices.Equal(first[name], other[name])
	}
	if !differs {
		t.Error("another seed gives the same weights")
	}
}

func TestRandomNumbers(t *testing.T) {
	b := open(t, engine.Options{})
	draw := func(seed int64) []*tensors.Tensor {
		state, err := RNGStateFromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		return run(t, b, func(in []*Node) []*Node {
			next, uniform := RandomUniform(in[0], shapes.Make(dtypes.Float32, 101, 99))
			next, more := RandomUniform(next, shapes.Make(dtypes.Float32, 101, 99))
			next, doubles := RandomUniform(next, shapes.Make(dtypes.Float64, 1000))
			return []*Node{next, uniform, more, doubles}
		}, state)
	}
	first, again := draw(1), draw(1)
	for i := range first {
		if !slices.Equal(values(t, first[i]), values(t, again[i])) {
			t.Errorf("output %d: the same state gave other numbers", i)
		}
	}
	for _, i := range []int{1, 2, 3} {
		mean, square, v := 0.0, 0.0, values(t, first[i])
		for _, x := range v {
			if x < 0 || x >= 1 {
				t.Fatalf("%v is not in [0, 1)", x)
			}
			mean, square = mean+x/float64(len(v)), square+x*x/float64(len(v))
		}
		// The standard deviations are 0.29 and 0.30, divided by the root of the count. Allow five
		// standard errors.
		if off := 5 * .3 / math.Sqrt(float64(len(v))); math.Abs(mean-.5) > off ||
			math.Abs(square-1./3) > off {
			t.Errorf("output %d: mean %v and mean square %v", i, mean, square)
		}
	}
	if slices.Equal(values(t, first[1]), values(t, first[2])) {
		t.Error("two draws gave the same numbers")
	}
}
