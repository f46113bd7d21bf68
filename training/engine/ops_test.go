package engine_test

import (
	"math"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"

	"relish/training/engine"
)

var nan, inf = math.NaN(), math.Inf(1)

// Each operator is compared with results that were computed by hand.
func TestOperators(t *testing.T) {
	f := func(v ...float32) any { return v }
	one := func(fn func(x *Node) *Node) func([]*Node) []*Node {
		return func(in []*Node) []*Node { return []*Node{fn(in[0])} }
	}
	two := func(fn func(x, y *Node) *Node) func([]*Node) []*Node {
		return func(in []*Node) []*Node { return []*Node{fn(in[0], in[1])} }
	}
	x := [][]float32{{1, 2, 3}, {4, 5, 6}}
	for _, c := range []struct {
		name string
		fn   func([]*Node) []*Node
		in   []any
		want []float64
	}{
		{"Abs", one(Abs), []any{f(-2, 0, 3)}, []float64{2, 0, 3}},
		{"Ceil", one(Ceil), []any{f(-1.5, 1.2)}, []float64{-1, 2}},
		{"Cos", one(Cos), []any{f(0, math.Pi)}, []float64{1, -1}},
		{"Erf", one(Erf), []any{f(0, 0.5, -1)}, []float64{0, math.Erf(.5), math.Erf(-1)}},
		{"Exp", one(Exp), []any{f(0, 1, -2)}, []float64{1, math.E, math.Exp(-2)}},
		{"Expm1", one(Expm1), []any{f(1e-7, 0, 1, -30)},
			[]float64{math.Expm1(1e-7), 0, math.E - 1, -1}},
		{"Floor", one(Floor), []any{f(-1.5, 1.2)}, []float64{-2, 1}},
		{"IsFinite", one(IsFinite), []any{f(1, float32(inf), float32(nan))}, []float64{1, 0, 0}},
		{"IsNaN", one(IsNaN), []any{f(1, float32(inf), float32(nan))}, []float64{0, 0, 1}},
		{"Log", one(Log), []any{f(1, math.E, 0)}, []float64{0, 1, -inf}},
		{"Log1p", one(Log1p), []any{f(0, 1e-7, 1e9, float32(inf), -1)},
			[]float64{0, math.Log1p(1e-7), math.Log1p(1e9), inf, -inf}},
		{"Logistic", one(Logistic), []any{f(0, 2, -200)}, []float64{.5, 1 / (1 + math.Exp(-2)), 0}},
		{"Neg", one(Neg), []any{f(1, -2)}, []float64{-1, 2}},
		{"Round to even", one(Round), []any{f(.5, 1.5, 2.5, -.5, 1.4)}, []float64{0, 2, 2, 0, 1}},
		{"Rsqrt", one(Rsqrt), []any{f(4, .25)}, []float64{.5, 2}},
		{"Sign", one(Sign), []any{f(-3, 0, 5)}, []float64{-1, 0, 1}},
		{"Sin", one(Sin), []any{f(0, math.Pi/2)}, []float64{0, 1}},
		{"Sqrt", one(Sqrt), []any{f(4, 2)}, []float64{2, math.Sqrt2}},
		{"Tanh", one(Tanh), []any{f(0, 1)}, []float64{0, math.Tanh(1)}},
		{"LogicalNot", one(LogicalNot), []any{[]bool{true, false}}, []float64{0, 1}},
		{"Identity", one(Identity), []any{f(1, 2)}, []float64{1, 2}},
		{"a scalar in and out", one(func(x *Node) *Node { return AddScalar(x, 1) }),
			[]any{float32(2)}, []float64{3}},
		{"an input as output", func(in []*Node) []*Node { return []*Node{in[0]} }, []any{f(7)},
			[]float64{7}},
		{"float64", one(func(x *Node) *Node { return MulScalar(x, 3) }), []any{[]float64{1.5}},
			[]float64{4.5}},

		{"Add", two(Add), []any{f(1, 2), f(3, 4)}, []float64{4, 6}},
		{"Add of a column and a row", two(Add), []any{[][]float32{{1}, {2}}, [][]float32{{10, 20}}},
			[]float64{11, 21, 12, 22}},
		{"Add of int64", two(Add), []any{[]int64{1 << 40}, []int64{1}}, []float64{1<<40 + 1}},
		{"Sub of a scalar", two(Sub), []any{f(1, 2), float32(1)}, []float64{0, 1}},
		{"Mul", two(Mul), []any{f(2, 3), f(4, 5)}, []float64{8, 15}},
		{"Div", two(Div), []any{f(1, -1, 6), f(0, 0, 4)}, []float64{inf, -inf, 1.5}},
		{"Div of int32", two(Div), []any{[]int32{7, -7}, []int32{2, 2}}, []float64{3, -3}},
		{"Max", two(Max), []any{f(1, 5), f(2, 3)}, []float64{2, 5}},
		{"Min", two(Min), []any{f(1, 5), f(2, 3)}, []float64{1, 3}},
		{"Pow", two(Pow), []any{f(2, 9), f(3, .5)}, []float64{8, 3}},
		{"Rem has the dividend's sign", two(Mod), []any{f(5.5, -5.5), f(2, 2)},
			[]float64{1.5, -1.5}},
		{"LogicalAnd", two(LogicalAnd),
			[]any{[]bool{true, true, false}, []bool{true, false, false}}, []float64{1, 0, 0}},
		{"LogicalOr", two(LogicalOr), []any{[]bool{true, true, false}, []bool{true, false, false}},
			[]float64{1, 1, 0}},
		{"LogicalXor", two(LogicalXor),
			[]any{[]bool{true, true, false}, []bool{true, false, false}}, []float64{0, 1, 0}},
		{"Equal", two(Equal), []any{f(1, 2, float32(nan)), f(1, 3, float32(nan))},
			[]float64{1, 0, 0}},
		{"NotEqual", two(NotEqual), []any{f(1, 2), f(1, 3)}, []float64{0, 1}},
		{"GreaterThan", two(GreaterThan), []any{f(1, 2, 3), f(2, 2, 2)}, []float64{0, 0, 1}},
		{"GreaterOrEqual", two(GreaterOrEqual), []any{f(1, 2, 3), f(2, 2, 2)}, []float64{0, 1, 1}},
		{"LessThan", two(LessThan), []any{f(1, 2, 3), f(2, 2, 2)}, []float64{1, 0, 0}},
		{"LessOrEqual", two(LessOrEqual), []any{f(1, 2, 3), f(2, 2, 2)}, []float64{1, 1, 0}},
		{"Where", func(in []*Node) []*Node { return []*Node{Where(in[0], in[1], in[2])} },
			[]any{[]bool{true, false}, f(1, 2), float32(9)}, []float64{1, 9}},
		{"Clip", one(func(x *Node) *Node { return ClipScalar(x, 0, 1) }), []any{f(-1, .5, 2)},
			[]float64{0, .5, 1}},
		{"ConvertDType", one(func(x *Node) *Node { return ConvertDType(x, dtypes.Int32) }),
			[]any{f(1.9, -1.9)}, []float64{1, -1}},
		{"ConvertDType of a condition",
			one(func(x *Node) *Node { return ConvertDType(x, dtypes.Float32) }),
			[]any{[]bool{true, false}}, []float64{1, 0}},

		{"BroadcastToDims", one(func(x *Node) *Node { return BroadcastToDims(x, 2, 3) }),
			[]any{[][]float32{{1}, {2}}}, []float64{1, 1, 1, 2, 2, 2}},
		{"BroadcastPrefix", one(func(x *Node) *Node { return BroadcastPrefix(x, 2) }),
			[]any{f(1, 2)}, []float64{1, 2, 1, 2}},
		{"Reshape", one(func(x *Node) *Node { return Reshape(x, 3, 2) }), []any{x},
			[]float64{1, 2, 3, 4, 5, 6}},
		{"Reshape of a pending broadcast",
			one(func(x *Node) *Node { return Reshape(BroadcastToDims(x, 2, 2), 4) }),
			[]any{[][]float32{{1, 2}}}, []float64{1, 2, 1, 2}},
		{"Transpose", one(func(x *Node) *Node { return Transpose(x, 0, 1) }), []any{x},
			[]float64{1, 4, 2, 5, 3, 6}},
		{"Concatenate", two(func(x, y *Node) *Node { return Concatenate([]*Node{x, y}, -1) }),
			[]any{x, [][]float32{{9}, {8}}}, []float64{1, 2, 3, 9, 4, 5, 6, 8}},
		{"Slice", one(func(x *Node) *Node { return Slice(x, AxisRange(), AxisRange(1, 3)) }),
			[]any{x}, []float64{2, 3, 5, 6}},
		{"Slice with a stride",
			one(func(x *Node) *Node { return Slice(x, AxisRange(1), AxisRange().Stride(2)) }),
			[]any{x}, []float64{4, 6}},
		{"Slice of a pending broadcast",
			one(func(x *Node) *Node {
				return Slice(BroadcastToDims(x, 5, 2), AxisRange(1, 3), AxisRange(1))
			}), []any{[][]float32{{1, 2}}}, []float64{2, 2}},
		{"Pad", one(func(x *Node) *Node {
			return Pad(x, Scalar(x.Graph(), dtypes.Float32, 7), PadAxis{Start: 1},
				PadAxis{End: 2, Interior: 1})
		}), []any{[][]float32{{1, 2}}}, []float64{7, 7, 7, 7, 7, 1, 7, 2, 7, 7}},
		{"Iota", one(func(x *Node) *Node {
			return Iota(x.Graph(), shapes.Make(dtypes.Int32, 2, 3), 1)
		}), []any{x}, []float64{0, 1, 2, 0, 1, 2}},

		{"ReduceSum of all", one(func(x *Node) *Node { return ReduceAllSum(x) }), []any{x},
			[]float64{21}},
		{"ReduceSum", one(func(x *Node) *Node { return ReduceSum(x, 0) }), []any{x},
			[]float64{5, 7, 9}},
		{"ReduceSum of a pending broadcast",
			one(func(x *Node) *Node { return ReduceSum(BroadcastToDims(x, 4, 2), 0) }),
			[]any{[][]float32{{1, 2}}}, []float64{4, 8}},
		{"ReduceMax", one(func(x *Node) *Node { return ReduceMax(x, 1) }), []any{x},
			[]float64{3, 6}},
		{"ReduceMin", one(func(x *Node) *Node {
			return ReduceMin(BroadcastToDims(InsertAxes(x, 0), 2, 2, 3), 0, 2)
		}), []any{x}, []float64{1, 4}},
		{"ReduceProduct of a pending broadcast",
			one(func(x *Node) *Node { return ReduceMultiply(BroadcastToDims(x, 3, 2), 0) }),
			[]any{[][]float32{{2, 3}}}, []float64{8, 27}},
		{"ReduceMean", one(func(x *Node) *Node { return ReduceMean(x, 1) }), []any{x},
			[]float64{2, 5}},

		{"Dot of vectors", two(Dot), []any{f(1, 2), f(3, 4)}, []float64{11}},
		{"Dot of a matrix and a vector", two(Dot), []any{x, f(1, 0, 1)}, []float64{4, 10}},
		{"Dot of matrices", two(Dot), []any{x, [][]float32{{1, 0}, {0, 1}, {1, 1}}},
			[]float64{4, 5, 10, 11}},
		{"Einsum with rows times rows",
			two(func(x, y *Node) *Node { return Einsum("ik,jk->ij", x, y) }), []any{x, x},
			[]float64{14, 32, 32, 77}},
		{"Einsum row by row", two(func(x, y *Node) *Node { return Einsum("bk,bk->b", x, y) }),
			[]any{x, x}, []float64{14, 77}},

		{"Gather", two(func(x, i *Node) *Node { return Gather(x, i) }),
			[]any{x, [][]int32{{1}, {0}, {1}}}, []float64{4, 5, 6, 1, 2, 3, 4, 5, 6}},
		{"Gather of elements", two(func(x, i *Node) *Node { return Gather(x, i) }),
			[]any{x, [][]int64{{1, 2}, {0, 1}}}, []float64{6, 2}},
		{"Gather out of range", two(func(x, i *Node) *Node { return Gather(x, i) }),
			[]any{x, [][]int32{{9}, {-5}}}, []float64{4, 5, 6, 1, 2, 3}},
		{"Scatter", two(func(x, i *Node) *Node {
			return Scatter(i, x, shapes.Make(dtypes.Float32, 3, 3), false, false)
		}), []any{x, [][]int32{{2}, {2}}}, []float64{0, 0, 0, 0, 0, 0, 5, 7, 9}},
		{"ScatterSum of elements",
			two(func(x, i *Node) *Node {
				return ScatterSum(x, i, Const(x.Graph(), []float32{10, 20}), false, false)
			}),
			[]any{x, [][]int32{{1, 2}, {0, 1}}}, []float64{1, 22, 3, 4, 5, 16}},
		{"ScatterMax", two(func(x, i *Node) *Node {
			return ScatterMax(x, i, Const(x.Graph(), [][]float32{{9, 0, 9}}), false, false)
		}), []any{x, [][]int32{{0}}}, []float64{9, 2, 9, 4, 5, 6}},
		{"ScatterMin", two(func(x, i *Node) *Node {
			return ScatterMin(x, i, Const(x.Graph(), [][]float32{{9, 0, 9}}), false, false)
		}), []any{x, [][]int32{{0}}}, []float64{1, 0, 3, 4, 5, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := values(t, run(t, open(t, engine.Options{}), c.fn, c.in...)[0])
			if !almostEqual(got, c.want, 1e-6) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestConstantGraph(t *testing.T) {
	e, err := NewExec(open(t, engine.Options{}),
		func(g *Graph) *Node { return Const(g, [][]float32{{1, 2}}) })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Finalize()
	out, err := e.Exec()
	if err != nil || !almostEqual(values(t, out[0]), []float64{1, 2}, 0) {
		t.Errorf("%v, %v", out, err)
	}
}

// A graph that the backend does not support is an error that names the reason. So is a scatter to a
// row out of range, when the graph runs.
func TestErrors(t *testing.T) {
	x := [][]float32{{1, 2, 3}, {4, 5, 6}}
	for _, c := range []struct {
		name, want string
		fn         func(in []*Node) []*Node
		in         []any
	}{
		{"an unsupported operator", "ArgMinMax",
			func(in []*Node) []*Node { return []*Node{ArgMax(in[0], 0)} }, []any{x}},
		{"negative padding", "negative padding", func(in []*Node) []*Node {
			return []*Node{Pad(in[0], ScalarZero(in[0].Graph(), dtypes.Float32),
				PadAxis{Start: -1})}
		}, []any{x}},
		{"slices that are not whole rows", "whole rows", func(in []*Node) []*Node {
			return []*Node{GatherSlices(in[0], []int{1}, in[1], []int{2}, false)}
		}, []any{x, [][]int32{{0}}}},
		{"an empty input", "no elements", func(in []*Node) []*Node { return []*Node{Neg(in[0])} },
			[]any{tensors.FromShape(shapes.Make(dtypes.Float32, 0, 2))}},
		{"a complex number", "not supported",
			func(in []*Node) []*Node { return []*Node{Neg(in[0])} }, []any{[]complex64{1}}},
		{"integers multiplied as matrices", "float32",
			func(in []*Node) []*Node { return []*Node{Dot(in[0], in[0])} }, []any{[]int32{1, 2}}},
		{"a computed random state", "random state", func(in []*Node) []*Node {
			state := Add(in[0], in[0])
			_, bits := RandomUniform(state, shapes.Make(dtypes.Float32, 2))
			return []*Node{bits}
		}, []any{[]uint64{1, 2, 3}}},
		{"a row out of range", "out of", func(in []*Node) []*Node {
			return []*Node{ScatterSum(in[0], in[1], Const(in[0].Graph(), [][]float32{{1, 1, 1}}),
				false, false)}
		}, []any{x, [][]int32{{2}}}},
	} {
		_, err := try(open(t, engine.Options{}), c.fn, c.in...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}
