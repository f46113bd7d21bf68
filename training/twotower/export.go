package twotower

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"

	serving "relish/ranker/signals"
	"relish/training/engine"
)

// weightBinding connects a variable of the user tower with the slice that serves it.
type weightBinding struct {
	name  string
	slice *[]float32
	dims  []int
}

// bindUserTower returns the bindings of all variables of the user tower. The sizes in w must be
// set.
func bindUserTower(w *serving.TwoTowerWeights) []weightBinding {
	d := w.Dim
	out := []weightBinding{{varGain, &w.Gain, []int{d}}}
	if w.Layers == 0 {
		out = append(out, weightBinding{varPoolKey, &w.PoolKey, []int{d}},
			weightBinding{varRecency, &w.Recency, []int{w.HistoryLength}})
	}
	w.Blocks = append(w.Blocks, make([]serving.AttentionBlock, w.Layers-len(w.Blocks))...)
	for l := range w.Blocks {
		b := &w.Blocks[l]
		for _, t := range []weightBinding{
			{varQuery, &b.Query, []int{d, d}}, {varKey, &b.Key, []int{d, d}},
			{varValue, &b.Value, []int{d, d}}, {varOut, &b.Out, []int{d, d}},
			{varPositionBias, &b.PositionBias, []int{w.Heads, w.HistoryLength}},
			{varUp, &b.Up, []int{d, 2 * d}}, {varUpBias, &b.UpBias, []int{2 * d}},
			{varDown, &b.Down, []int{2 * d, d}}, {varDownBias, &b.DownBias, []int{d}},
		} {
			t.name = blockName(t.name, l)
			out = append(out, t)
		}
	}
	return out
}

// toServing copies the current weights into the form that the service uses.
func (t *trainer) toServing() (*serving.TwoTower, error) {
	m, cfg := t.model, t.cfg
	vec, bias, err := t.valid.vectors()
	if err != nil {
		return nil, err
	}
	w := serving.TwoTowerWeights{
		Layers: cfg.Layers, Dim: cfg.Dim, Heads: cfg.Heads, HistoryLength: cfg.HistoryLength,
		Items: t.corpus.Items, Vectors: vec, Bias: bias, UnknownBias: m.values(varUnknownBias)[0],
	}
	if m.text > 0 {
		w.TextDim = t.text.dim
		w.TextProjection, w.TextOffset = t.text.compose(m.values(varTextProjection),
			m.values(varUnknownID))
	}
	for _, v := range bindUserTower(&w) {
		*v.slice = m.values(v.name)
	}
	return serving.NewTwoTower(w)
}

func (m *model) values(name string) []float32 {
	v := m.ctx.GetVariableByScopeAndName(m.ctx.Scope(), name)
	if v == nil {
		panic(fmt.Sprintf("twotower: the model has no variable %q",
			name)) // a bug: all names are constants of this package
	}
	return tensors.MustCopyFlatData[float32](v.MustValue())
}

// compose combines the projection to components and the projection to item vectors (second) into
// one: textMap is dim of text x dim of items. offset is added to its result. It consists of the
// vector for unknown ids (unknown) minus the projection of the mean text.
func (c *textComponents) compose(second, unknown []float32) (textMap, offset []float32) {
	d := len(unknown)
	textMap, offset = make([]float32, c.dim*d), slices.Clone(unknown)
	for i := range c.dim {
		row := textMap[i*d : (i+1)*d]
		for k := range c.n {
			f := c.project[k*c.dim+i]
			for j := range row {
				row[j] += f * second[k*d+j]
			}
		}
		for j := range row {
			offset[j] -= c.mean[i] * row[j]
		}
	}
	return textMap, offset
}

// Names of the inputs and the output of the exported graph.
const (
	InputHistory = "history" // batch x HistoryLength x Dim: item vectors, oldest first, then zeros
	InputNewest  = "newest"  // batch x HistoryLength: 1 at the position of the newest item, else 0
	OutputUser   = "user"    // batch x Dim: user vectors
)

// ExportUserTower returns the user tower as an ONNX file with a free batch size, for GPUs and other
// runtimes. Its output equals TwoTower.UserVector. A score is the inner product of the user vector
// and an item's vector, plus the item's bias.
func ExportUserTower(m *serving.TwoTower) ([]byte, error) {
	w := *m.Weights()
	tower := &model{
		cfg: &Config{Layers: w.Layers, Dim: w.Dim, Heads: w.Heads, HistoryLength: w.HistoryLength},
		ctx: context.New().Checked(false),
	}
	defer tower.ctx.Finalize()
	for _, v := range bindUserTower(&w) {
		tower.put(v.name, slices.Clone(*v.slice), v.dims...)
	}
	historyDims := []int{engine.Batch, w.HistoryLength, w.Dim}
	inputs := []engine.Input{
		{Name: InputHistory, DType: dtypes.Float32, Dims: historyDims},
		{Name: InputNewest, DType: dtypes.Float32, Dims: historyDims[:2]},
	}
	forward := func(_ *context.Context, in []*Node) []*Node {
		return []*Node{tower.userVectors(in[0], in[1])}
	}
	return engine.Export(tower.ctx, inputs, []string{OutputUser}, forward)
}

// userVectors returns the user vectors of histories of item vectors. newest marks the last position
// of each.
func (m *model) userVectors(history, newest *Node) *Node {
	return Einsum("bl,bld->bd", newest, m.states(history))
}
