package engine_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
)

// weights creates variables from its own random generator, so that all backends start with the same
// values.
type weights struct {
	ctx *context.Context
	r   *rand.Rand
}

func (w weights) get(g *Graph, name string, scale float64, dims ...int) *Node {
	if v := w.ctx.GetVariableByScopeAndName(w.ctx.Scope(), name); v != nil {
		return v.ValueGraph(g)
	}
	n := 1
	for _, d := range dims {
		n *= d
	}
	flat := make([]float32, n)
	for i := range flat {
		flat[i] = float32(w.r.NormFloat64() * scale)
	}
	value := tensors.FromFlatDataAndDimensions(flat, dims...)
	return w.ctx.VariableWithValue(name, value).ValueGraph(g)
}

func newWeights(seed uint64) weights {
	return weights{context.New().Checked(false), rand.New(rand.NewPCG(seed, 0))}
}

// mlp is a multilayer perceptron with a softmax over classes. It returns the cross entropy.
func mlp(w weights, x, class *Node, sizes ...int) *Node {
	g := x.Graph()
	for i := 1; i < len(sizes); i++ {
		layer, scale := string(rune('0'+i)), 1/math.Sqrt(float64(sizes[i-1]))
		product := Dot(x, w.get(g, "w"+layer, scale, sizes[i-1], sizes[i]))
		x = Add(product, InsertAxes(w.get(g, "b"+layer, 0, sizes[i]), 0))
		if i < len(sizes)-1 {
			x = MaxScalar(x, 0)
		}
	}
	oneHot := OneHot(class, sizes[len(sizes)-1], dtypes.Float32)
	return Neg(ReduceAllMean(ReduceSum(Mul(oneHot, LogSoftmax(x)), -1)))
}

type transformer struct{ layers, dim, heads, length, items int }

// states encodes item sequences [batch, length] with causal attention: pre-norm attention and
// feed-forward layers.
func (m transformer) states(w weights, items *Node) *Node {
	g := items.Graph()
	vectors := w.get(g, "items", .1, m.items, m.dim)
	x := Gather(vectors, InsertAxes(items, -1))
	x = Add(x, InsertAxes(w.get(g, "positions", .1, m.length, m.dim), 0))
	future := GreaterThan(Iota(g, shapes.Make(dtypes.Int32, m.length, m.length), 1),
		Iota(g, shapes.Make(dtypes.Int32, m.length, m.length), 0))
	mask := MulScalar(ConvertDType(future, dtypes.Float32), -1e9)
	s := 1 / math.Sqrt(float64(m.dim))
	for l := range m.layers {
		name := func(part string) string { return part + string(rune('0'+l)) }
		h := norm(x)
		split := func(part string) *Node {
			y := Einsum("bsd,de->bse", h, w.get(g, name(part), s, m.dim, m.dim))
			return Reshape(y, y.Shape().Dimensions[0], m.length, m.heads, m.dim/m.heads)
		}
		score := MulScalar(Einsum("bqhd,bkhd->bhqk", split("q"), split("k")),
			1/math.Sqrt(float64(m.dim/m.heads)))
		attention := Softmax(Add(score, InsertAxes(mask, 0, 0)), -1)
		mixed := Reshape(Einsum("bhqk,bkhd->bqhd", attention, split("v")), x.Shape().Dimensions...)
		x = Add(x, Einsum("bsd,de->bse", mixed, w.get(g, name("o"), s, m.dim, m.dim)))
		up := MaxScalar(Einsum("bsd,de->bse", norm(x), w.get(g, name("up"), s, m.dim, 2*m.dim)), 0)
		x = Add(x, Einsum("bsd,de->bse", up, w.get(g, name("down"), s, 2*m.dim, m.dim)))
	}
	return norm(x)
}

// loss is the softmax loss of the next item at each position. The other classes are the sampled
// items [negatives].
func (m transformer) loss(w weights, items, next, negatives *Node) *Node {
	x := m.states(w, items)
	vectors := w.get(x.Graph(), "items", .1, m.items, m.dim)
	positive := ReduceSum(Mul(x, Gather(vectors, InsertAxes(next, -1))), -1)
	negativeScores := Einsum("bsd,nd->bsn", x, Gather(vectors, InsertAxes(negatives, -1)))
	all := Concatenate([]*Node{InsertAxes(positive, -1), negativeScores}, -1)
	top := StopGradient(ReduceAndKeep(all, ReduceMax, -1))
	logSum := Add(Log(ReduceSum(Exp(Sub(all, top)), -1)), Squeeze(top, -1))
	return ReduceAllMean(Sub(logSum, positive))
}

func norm(x *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	return Div(centred, Sqrt(AddScalar(ReduceAndKeep(Square(centred), ReduceMean, -1), 1e-6)))
}

// stepper trains with Adam. Each call takes one step and returns the loss before the step.
func stepper(
	t testing.TB, b backends.Backend, w weights, loss func(in []*Node) *Node,
) func(in ...any) float64 {
	t.Helper()
	adam := optimizers.Adam().LearningRate(1e-2).Done()
	e, err := context.NewExec(b, w.ctx, func(ctx *context.Context, in []*Node) *Node {
		g := in[0].Graph()
		ctx.SetTraining(g, true)
		l := loss(in)
		adam.UpdateGraph(ctx, g, l)
		return l
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Finalize)
	return func(in ...any) float64 {
		out, err := e.Exec(in...)
		if err != nil {
			t.Fatal(err)
		}
		return values(t, out[0])[0]
	}
}

// pick returns a tensor of random item numbers.
func pick(r *rand.Rand, items int, dims ...int) *tensors.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	flat := make([]int32, n)
	for i := range flat {
		flat[i] = int32(r.IntN(items))
	}
	return tensors.FromFlatDataAndDimensions(flat, dims...)
}
