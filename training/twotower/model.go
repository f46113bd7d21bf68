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

// Names of the variables. The names of a block's variables end with its number.
const (
	varText           = "text"            // items x components, not trained
	varTextProjection = "text_projection" // components x dim
	varID             = "id"              // items x dim
	varUnknownID      = "unknown_id"      // dim: replaces a dropped or unknown id vector
	varInitialBias    = "initial_bias"    // items x 1, not trained
	varBias           = "bias"            // items x 1, added to the initial bias
	varUnknownBias    = "unknown_bias"    // 1: bias of an unknown item
	varGain           = "gain"            // dim: scale of a user vector's components
	varRecency        = "recency"         // length: by distance from the newest item, pooling only
	varPoolKey        = "pool_key"        // dim, pooling only
	varQuery          = "query"           // dim x dim, like the next three
	varKey            = "key"
	varValue          = "value"
	varOut            = "out"
	varPositionBias   = "position_bias" // heads x length
	varUp             = "up"            // dim x 2 dim
	varUpBias         = "up_bias"
	varDown           = "down"
	varDownBias       = "down_bias"
)

// model builds the graph of the two-tower model. Its variables belong to ctx.
type model struct {
	cfg   *Config
	ctx   *context.Context
	items int
	text  int // number of text components; 0 if the model uses no text
}

// newModel creates the variables. counts is the number of training positions whose next item is
// this item.
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
	initial, unknown := initialBias(counts)
	m.put(varInitialBias, initial, m.items, 1).SetTrainable(false)
	m.put(varBias, make([]float32, m.items), m.items, 1)
	m.put(varUnknownBias, []float32{unknown}, 1)
	m.put(varGain, slices.Repeat([]float32{1}, d), d)
	s := 1 / math.Sqrt(float64(d))
	if cfg.Layers == 0 {
		noise(varPoolKey, s, d)
		m.put(varRecency, recency(cfg.HistoryLength), cfg.HistoryLength)
	}
	for l := range cfg.Layers {
		for _, name := range []string{varQuery, varKey, varValue, varOut} {
			noise(blockName(name, l), s, d, d)
		}
		positionBias := make([]float32, cfg.Heads*cfg.HistoryLength)
		m.put(blockName(varPositionBias, l), positionBias, cfg.Heads, cfg.HistoryLength)
		noise(blockName(varUp, l), s, d, 2*d)
		m.put(blockName(varUpBias, l), make([]float32, 2*d), 2*d)
		noise(blockName(varDown, l), s/math.Sqrt2, 2*d, d)
		m.put(blockName(varDownBias, l), make([]float32, d), d)
	}
	return m
}

// initialBias returns half the logarithm of each item's count relative to the mean count. Half a
// count is added to both, so that an item without interactions has a finite bias. Unknown items
// have the same bias as these.
func initialBias(counts []int) (bias []float32, unknown float32) {
	total := 0
	for _, c := range counts {
		total += c
	}
	biasOf := func(c float64) float32 {
		return float32(0.5 * math.Log((c+0.5)/(float64(total)/float64(len(counts))+0.5)))
	}
	for _, c := range counts {
		bias = append(bias, biasOf(float64(c)))
	}
	return bias, biasOf(0)
}

// recency returns initial weights that fall by a fifth for each position.
func recency(length int) []float32 {
	out := make([]float32, length)
	for i := range out {
		out[i] = float32(float64(i) * math.Log(0.8))
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

// vectors returns the vectors and biases of items. For items of any shape s, their shapes are
// s x dim and s.
func (m *model) vectors(items *Node) (vec, bias *Node) {
	g := items.Graph()
	flat := Reshape(items, -1, 1) // GoMLX wants an index axis behind the axes of the rows
	dims := items.Shape().Dimensions
	rows := func(name string, width int) *Node {
		return Reshape(Gather(m.get(g, name), flat), append(slices.Clone(dims), width)...)
	}
	id := rows(varID, m.cfg.Dim)
	bias = Reshape(Add(rows(varInitialBias, 1), rows(varBias, 1)), dims...)
	if m.training(g) && m.cfg.IDDropout > 0 {
		keep := m.bernoulli(g, 1-m.cfg.IDDropout, dims...)
		idDims := id.Shape().Dimensions
		keepID := BroadcastToDims(InsertAxes(keep, -1), idDims...)
		unknown := BroadcastToDims(expandRank(m.get(g, varUnknownID), id.Rank()), idDims...)
		id = Where(keepID, id, unknown)
		bias = Where(keep, bias, BroadcastToDims(Reshape(m.get(g, varUnknownBias)), dims...))
	}
	if m.text == 0 {
		return id, bias
	}
	text := m.dropout(rows(varText, m.text), m.cfg.TextDropout)
	return Add(id, m.linear(text, varTextProjection)), bias
}

// states returns user vectors, batch x length x dim: at each position, the vector of a user whose
// history ends there. vec is batch x length x dim: item vectors, oldest first.
func (m *model) states(vec *Node) *Node {
	g := vec.Graph()
	x := m.dropout(vec, m.cfg.Dropout)
	if m.cfg.Layers == 0 {
		x = m.pool(x)
	}
	for l := range m.cfg.Layers {
		x = Add(x, m.dropout(m.attention(norm(x), l), m.cfg.Dropout))
		up := Add(m.linear(norm(x), blockName(varUp, l)),
			expandRank(m.get(g, blockName(varUpBias, l)), 3))
		up = MaxScalar(up, 0)
		down := Add(m.linear(up, blockName(varDown, l)),
			expandRank(m.get(g, blockName(varDownBias, l)), 3))
		x = Add(x, m.dropout(down, m.cfg.Dropout))
	}
	return Mul(norm(x), expandRank(m.get(g, varGain), 3))
}

// pool averages the history of each position with softmax weights of recency and content.
func (m *model) pool(x *Node) *Node {
	g, length := x.Graph(), x.Shape().Dimensions[1]
	score := InsertAxes(Einsum("bkd,d->bk", norm(x), m.get(g, varPoolKey)), 1)
	recency := InsertAxes(m.distanceBias(InsertAxes(m.get(g, varRecency), 0), length), 0)
	weights := Softmax(Add(score, Squeeze(recency, 1)), -1)
	return Einsum("bqk,bkd->bqd", weights, x)
}

// attention is causal multi-head attention with a learned bias for each distance.
func (m *model) attention(h *Node, layer int) *Node {
	g, dims := h.Graph(), h.Shape().Dimensions
	batch, length, heads := dims[0], dims[1], m.cfg.Heads
	split := func(name string) *Node {
		return Reshape(m.linear(h, blockName(name, layer)), batch, length, heads, m.cfg.Dim/heads)
	}
	score := MulScalar(Einsum("bqhd,bkhd->bhqk", split(varQuery), split(varKey)),
		1/math.Sqrt(float64(m.cfg.Dim/heads)))
	score = Add(score,
		InsertAxes(m.distanceBias(m.get(g, blockName(varPositionBias, layer)), length), 0))
	mixed := Einsum("bhqk,bkhd->bqhd", Softmax(score, -1), split(varValue))
	return m.linear(Reshape(mixed, dims...), blockName(varOut, layer))
}

// distanceBias expands a table by distance, rows x HistoryLength, to rows x length (from) x length
// (to). Later positions get -1e9, which removes their attention.
func (m *model) distanceBias(table *Node, length int) *Node {
	g := table.Graph()
	distance := make([]int32, 0, length*length)
	mask := make([]float32, 0, length*length)
	for q := range int32(length) {
		for k := range int32(length) {
			distance = append(distance, max(0, q-k))
			if k > q {
				mask = append(mask, -1e9)
			} else {
				mask = append(mask, 0)
			}
		}
	}
	indices := Const(g, tensors.FromFlatDataAndDimensions(distance, length*length, 1))
	bias := Transpose(Gather(Transpose(table, 0, 1), indices), 0, 1)
	return Add(Reshape(bias, table.Shape().Dimensions[0], length, length),
		Const(g, tensors.FromFlatDataAndDimensions(mask, 1, length, length)))
}

// linear multiplies the last axis by a matrix.
func (m *model) linear(x *Node, name string) *Node {
	w := m.get(x.Graph(), name)
	dims := x.Shape().Dimensions
	rows := Reshape(x, -1, dims[len(dims)-1])
	outDims := append(slices.Clone(dims[:len(dims)-1]), w.Shape().Dimensions[1])
	return Reshape(Dot(rows, w), outDims...)
}

func norm(x *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	return Div(centred, Sqrt(AddScalar(ReduceAndKeep(Square(centred), ReduceMean, -1), 1e-6)))
}

// expandRank adds leading axes of size 1.
func expandRank(v *Node, rank int) *Node {
	for v.Rank() < rank {
		v = InsertAxes(v, 0)
	}
	return v
}

func (m *model) training(g *Graph) bool { return m.ctx.IsTraining(g) }

// bernoulli returns random booleans that are true with probability p.
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
