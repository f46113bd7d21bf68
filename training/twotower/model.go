package twotower

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
)

// Names of the variables. Those of a block have its number behind them.
const (
	varText           = "text"         // items x components, not trained
	varTextProjection = "map"          // components x dim
	varID             = "own"          // items x dim
	varUnknownID      = "unknown"      // dim, stands for an own vector that is dropped
	varStart          = "bias_start"   // items x 1, not trained
	varBias           = "bias"         // items x 1, added to bias_start
	varUnknownBias    = "unknown_bias" // 1
	varGain           = "gain"         // dim
	varRecency        = "recency"      // length: by distance from the newest, pooling only
	varPoolKey        = "pool_key"     // dim, pooling only
	varQuery          = "query"        // dim x dim, and so on
	varKey            = "key"
	varValue          = "value"
	varOut            = "out"
	varDistance       = "distance" // heads x length
	varUp             = "up"       // dim x 2 dim
	varUpBias         = "up_bias"
	varDown           = "down"
	varDownBias       = "down_bias"
)

// model is the graph of the match model over the variables of a context.
type model struct {
	cfg   *Config
	ctx   *context.Context
	items int
	text  int // components, 0: the model reads no text
}

// newModel makes the variables. counts is how often each item was taken in training.
func newModel(cfg *Config, text *textComponents, counts []int) *model {
	m := &model{cfg: cfg, ctx: context.New().Checked(false), items: len(counts), text: text.n}
	r := rand.New(rand.NewPCG(cfg.Seed, 2))
	d := cfg.Dim
	noise := func(name string, sigma float64, dims ...int) {
		flat := make([]float32, shapes.Make(dtypes.Float32, dims...).Size())
		for i := range flat {
			flat[i] = float32(sigma * r.NormFloat64())
		}
		m.put(name, flat, dims...)
	}
	noise(varID, 0.02, m.items, d)
	m.put(varUnknownID, make([]float32, d), d)
	if text.n > 0 {
		m.put(varText, text.rows, m.items, text.n).SetTrainable(false)
		noise(varTextProjection, 0.02, text.n, d)
	}
	start, unknown := startBias(counts)
	m.put(varStart, start, m.items, 1).SetTrainable(false)
	m.put(varBias, make([]float32, m.items), m.items, 1)
	m.put(varUnknownBias, []float32{unknown}, 1)
	m.put(varGain, repeat(1, d), d)
	s := 1 / math.Sqrt(float64(d))
	if cfg.Layers == 0 {
		noise(varPoolKey, s, d)
		m.put(varRecency, recency(cfg.HistoryLength), cfg.HistoryLength)
	}
	for l := range cfg.Layers {
		for _, name := range []string{varQuery, varKey, varValue, varOut} {
			noise(blockName(name, l), s, d, d)
		}
		m.put(blockName(varDistance, l), make([]float32, cfg.Heads*cfg.HistoryLength), cfg.Heads,
			cfg.HistoryLength)
		noise(blockName(varUp, l), s, d, 2*d)
		m.put(blockName(varUpBias, l), make([]float32, 2*d), 2*d)
		noise(blockName(varDown, l), s/math.Sqrt2, 2*d, d)
		m.put(blockName(varDownBias, l), make([]float32, d), d)
	}
	return m
}

// startBias is half the logarithm of how often an item was taken, relative to the mean; what was never taken
// counts as half a time, and so does an item that is not known.
func startBias(counts []int) (bias []float32, unknown float32) {
	total := 0
	for _, c := range counts {
		total += c
	}
	of := func(c float64) float32 {
		return float32(0.5 * math.Log((c+0.5)/(float64(total)/float64(len(counts))+0.5)))
	}
	for _, c := range counts {
		bias = append(bias, of(float64(c)))
	}
	return bias, of(0)
}

// recency starts at a weight that falls by a fifth per place.
func recency(length int) []float32 {
	out := make([]float32, length)
	for i := range out {
		out[i] = float32(float64(i) * math.Log(0.8))
	}
	return out
}

func repeat(v float32, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func blockName(name string, layer int) string { return fmt.Sprintf("%s_%d", name, layer) }

func (m *model) put(name string, flat []float32, dims ...int) *context.Variable {
	return m.ctx.VariableWithValue(name, tensors.FromFlatDataAndDimensions(flat, dims...))
}

func (m *model) get(g *Graph, name string) *Node {
	return m.ctx.GetVariableByScopeAndName(m.ctx.Scope(), name).ValueGraph(g)
}

// vectors gives the items' vectors and biases: items is of any shape s, the results are s x dim and s.
func (m *model) vectors(items *Node) (vec, bias *Node) {
	g := items.Graph()
	flat := Reshape(items, -1, 1) // GoMLX checks the indices' axes against the table's
	dims := items.Shape().Dimensions
	rows := func(table string, width int) *Node {
		return Reshape(Gather(m.get(g, table), flat), append(slices.Clone(dims), width)...)
	}
	own := rows(varID, m.cfg.Dim)
	bias = Reshape(Add(rows(varStart, 1), rows(varBias, 1)), dims...)
	if m.training(g) && m.cfg.IDDropout > 0 {
		keep := m.bernoulli(g, 1-m.cfg.IDDropout, dims...)
		own = Where(
			BroadcastToDims(InsertAxes(keep, -1), own.Shape().Dimensions...),
			own,
			BroadcastToDims(
				expandRank(m.get(g, varUnknownID), own.Rank()),
				own.Shape().Dimensions...),
		)
		bias = Where(keep, bias, BroadcastToDims(Reshape(m.get(g, varUnknownBias)), dims...))
	}
	if m.text == 0 {
		return own, bias
	}
	text := m.dropout(rows(varText, m.text), m.cfg.TextDropout)
	return Add(own, m.linear(text, varTextProjection)), bias
}

// states reads items, batch x length and oldest first, and gives for each place the vector of a user whose
// history ends there: batch x length x dim.
func (m *model) states(vec *Node) *Node {
	g := vec.Graph()
	x := m.dropout(vec, m.cfg.Dropout)
	if m.cfg.Layers == 0 {
		x = m.pool(x)
	}
	for l := range m.cfg.Layers {
		x = Add(x, m.dropout(m.attention(norm(x), l), m.cfg.Dropout))
		up := MaxScalar(
			Add(m.linear(norm(x), blockName(varUp, l)),
				expandRank(m.get(g, blockName(varUpBias, l)), 3)),
			0,
		)
		down := Add(m.linear(up, blockName(varDown, l)),
			expandRank(m.get(g, blockName(varDownBias, l)), 3))
		x = Add(x, m.dropout(down, m.cfg.Dropout))
	}
	return Mul(norm(x), expandRank(m.get(g, varGain), 3))
}

// pool weighs each place's history by a softmax of recency and content.
func (m *model) pool(x *Node) *Node {
	g, length := x.Graph(), x.Shape().Dimensions[1]
	score := InsertAxes(Einsum("bkd,d->bk", norm(x), m.get(g, varPoolKey)), 1)
	near := InsertAxes(m.distanceBias(InsertAxes(m.get(g, varRecency), 0), length), 0)
	share := Softmax(Add(score, Squeeze(near, 1)), -1)
	return Einsum("bqk,bkd->bqd", share, x)
}

// attention is causal multi-head attention with a learned bias by distance.
func (m *model) attention(h *Node, layer int) *Node {
	g, dims := h.Graph(), h.Shape().Dimensions
	batch, length, heads := dims[0], dims[1], m.cfg.Heads
	split := func(name string) *Node {
		return Reshape(m.linear(h, blockName(name, layer)), batch, length, heads, m.cfg.Dim/heads)
	}
	score := MulScalar(Einsum("bqhd,bkhd->bhqk", split(varQuery), split(varKey)),
		1/math.Sqrt(float64(m.cfg.Dim/heads)))
	score = Add(score,
		InsertAxes(m.distanceBias(m.get(g, blockName(varDistance, layer)), length), 0))
	mixed := Einsum("bhqk,bkhd->bqhd", Softmax(score, -1), split(varValue))
	return m.linear(Reshape(mixed, dims...), blockName(varOut, layer))
}

// distanceBias lays a table, rows x Length by distance, out as rows x length (from) x length (to), with places
// that are yet to come out of reach.
func (m *model) distanceBias(table *Node, length int) *Node {
	g := table.Graph()
	at := make([]int32, 0, length*length)
	later := make([]float32, 0, length*length)
	for q := range int32(length) {
		for k := range int32(length) {
			at = append(at, max(0, q-k))
			if k > q {
				later = append(later, -1e9)
			} else {
				later = append(later, 0)
			}
		}
	}
	by := Transpose(
		Gather(Transpose(table, 0, 1),
			Const(g, tensors.FromFlatDataAndDimensions(at, length*length, 1))),
		0,
		1,
	)
	return Add(Reshape(by, table.Shape().Dimensions[0], length, length),
		Const(g, tensors.FromFlatDataAndDimensions(later, 1, length, length)))
}

// linear multiplies the last axis by a matrix.
func (m *model) linear(x *Node, name string) *Node {
	w := m.get(x.Graph(), name)
	dims := x.Shape().Dimensions
	rows := Reshape(x, -1, dims[len(dims)-1])
	return Reshape(
		Dot(rows, w),
		append(append([]int{}, dims[:len(dims)-1]...), w.Shape().Dimensions[1])...)
}

func norm(x *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	return Div(centred, Sqrt(AddScalar(ReduceAndKeep(Square(centred), ReduceMean, -1), 1e-6)))
}

// expandRank puts axes of size 1 before a vector's.
func expandRank(v *Node, rank int) *Node {
	for v.Rank() < rank {
		v = InsertAxes(v, 0)
	}
	return v
}

func (m *model) training(g *Graph) bool { return m.ctx.IsTraining(g) }

// bernoulli is true with the probability.
func (m *model) bernoulli(g *Graph, p float64, dims ...int) *Node {
	u := m.ctx.RandomUniform(g, shapes.Make(dtypes.Float32, dims...))
	return LessThan(u, Scalar(g, dtypes.Float32, p))
}

func (m *model) dropout(x *Node, rate float64) *Node {
	g := x.Graph()
	if !m.training(g) || rate == 0 {
		return x
	}
	keep := ConvertDType(m.bernoulli(g, 1-rate, x.Shape().Dimensions...), dtypes.Float32)
	return Mul(x, MulScalar(keep, 1/(1-rate)))
}

// batchNodes is what a training step is given. Shapes: b sequences of l places, n negatives, k skipped items per place.
type batchNodes struct {
	items, next, weight      *Node // b x l
	negatives, negativeShift *Node // n
	skipped, skippedShift    *Node // b l x k, nil if the data has none
}

// loss is the weighted mean, over all places, of how surprised the model is at what came next: the softmax of that
// item's score among the negatives, which all places share, and those skipped there. A negative that is the very item
// is left out. The shifts are subtracted from the negatives' scores.
func (m *model) loss(in *batchNodes) *Node {
	parts := []*Node{Reshape(in.items, -1), Reshape(in.next, -1), in.negatives}
	if in.skipped != nil {
		parts = append(parts, Reshape(in.skipped, -1))
	}
	// All items are looked up at once: the gradient of each look-up is as large as the table.
	vec, bias := m.vectors(Concatenate(parts, 0))
	at := 0
	next := func(like *Node) (v, b *Node) {
		n := like.Shape().Size()
		v, b = Slice(vec, AxisRange(at, at+n)), Slice(bias, AxisRange(at, at+n))
		at += n
		dims := like.Shape().Dimensions
		return Reshape(v, append(slices.Clone(dims), m.cfg.Dim)...), Reshape(b, dims...)
	}
	itemVec, _ := next(in.items)
	state := Reshape(m.states(itemVec), -1, m.cfg.Dim)
	target := Reshape(in.next, -1)
	targetVec, targetBias := next(target)
	own := Add(ReduceSum(Mul(state, targetVec), -1), targetBias)
	negVec, negBias := next(in.negatives)
	others := Add(Einsum("td,nd->tn", state, negVec), InsertAxes(Sub(negBias, in.negativeShift), 0))
	others = maskScores(others, Equal(InsertAxes(target, -1), InsertAxes(in.negatives, 0)))
	if in.skipped != nil {
		skipVec, skipBias := next(in.skipped)
		beside := Add(Einsum("td,tkd->tk", state, skipVec), Sub(skipBias, in.skippedShift))
		others = Concatenate(
			[]*Node{others, maskScores(beside, Equal(InsertAxes(target, -1), in.skipped))}, -1)
	}
	top := StopGradient(Max(own, ReduceMax(others, -1)))
	sum := Add(Exp(Sub(own, top)), ReduceSum(Exp(Sub(others, InsertAxes(top, -1))), -1))
	surprise := Sub(Add(Log(sum), top), own)
	weight := Reshape(in.weight, -1)
	return Div(ReduceAllSum(Mul(surprise, weight)), ReduceAllSum(weight))
}

// maskScores makes scores that do not count so low that they do not.
func maskScores(scores, where *Node) *Node {
	return Add(scores, MulScalar(ConvertDType(where, dtypes.Float32), -1e9))
}
