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

// weightBinding is a variable of the user half and the list of numbers that it is served as.
type weightBinding struct {
	name string
	list *[]float32
	dims []int
}

// bindUserTower ties the model's variables to w's lists. w's sizes must be set.
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
			{varQuery, &b.Query, []int{d, d}}, {varKey, &b.Key, []int{d, d}}, {varValue, &b.Value, []int{d, d}}, {varOut, &b.Out, []int{d, d}},
			{varDistance, &b.PositionBias, []int{w.Heads, w.HistoryLength}},
			{varUp, &b.Up, []int{d, 2 * d}}, {varUpBias, &b.UpBias, []int{2 * d}},
			{varDown, &b.Down, []int{2 * d, d}}, {varDownBias, &b.DownBias, []int{d}},
		} {
			t.name = blockName(t.name, l)
			out = append(out, t)
		}
	}
	return out
}

// toServing copies the model as it is now into the form in which it is served.
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
		*v.list = m.values(v.name)
	}
	return serving.NewTwoTower(w)
}

func (m *model) values(name string) []float32 {
	v := m.ctx.GetVariableByScopeAndName(m.ctx.Scope(), name)
	if v == nil {
		panic(fmt.Sprintf("match: the model has no %s", name)) // the names are this package's own
	}
	return tensors.MustCopyFlatData[float32](v.MustValue())
}

// compose makes one map of the two (text to components, components to dim): the map, text x dim, and what is
// added: what stands for an own vector, less the mean text's image.
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

// Names of the exported graph's inputs and output.
const (
	InputHistory = "history" // batch x Length x Dim: item vectors, oldest first, then zeros
	InputNewest  = "newest"  // batch x Length: 1 at the newest item's place, else 0
	OutputUser   = "user"    // batch x Dim
)

// ExportUserTower writes a model's user half as an ONNX file with a free batch size, for other runtimes and for GPUs. It
// gives what Neural.User gives; an item's score is the product with its vector, plus its bias.
func ExportUserTower(n *serving.TwoTower) ([]byte, error) {
	w := *n.Weights()
	m := &model{
		cfg: &Config{Layers: w.Layers, Dim: w.Dim, Heads: w.Heads, HistoryLength: w.HistoryLength},
		ctx: context.New().Checked(false),
	}
	defer m.ctx.Finalize()
	for _, v := range bindUserTower(&w) {
		m.put(v.name, slices.Clone(*v.list), v.dims...)
	}
	return engine.Export(m.ctx, []engine.Input{
		{
			Name:  InputHistory,
			DType: dtypes.Float32,
			Dims:  []int{engine.Batch, w.HistoryLength, w.Dim},
		},
		{Name: InputNewest, DType: dtypes.Float32, Dims: []int{engine.Batch, w.HistoryLength}},
	}, []string{OutputUser}, func(_ *context.Context, in []*Node) []*Node { return []*Node{m.userVectors(in[0], in[1])} })
}

// userVectors gives users' vectors from their histories' vectors and where each ends.
func (m *model) userVectors(history, newest *Node) *Node {
	return Einsum("bl,bld->bd", newest, m.states(history))
}
