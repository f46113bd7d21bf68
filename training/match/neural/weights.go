package neural

import (
	"fmt"

	"github.com/gomlx/gomlx/pkg/core/tensors"

	serving "relish/ranker/match"
)

// served copies the model as it is now into the form in which it is served.
func (t *trainer) served() (*serving.Neural, error) {
	m, cfg := t.model, t.cfg
	vec, bias, err := t.valid.vectors()
	if err != nil {
		return nil, err
	}
	w := serving.Weights{
		Layers: cfg.Layers, Dim: cfg.Dim, Heads: cfg.Heads, Length: cfg.Length,
		Items: t.corpus.Items, Vectors: vec, Bias: bias, UnknownBias: m.values(varUnknownBias)[0], Gain: m.values(varGain),
	}
	if m.text > 0 {
		w.TextDim = t.text.dim
		w.TextMap, w.TextOffset = t.text.compose(m.values(varMap), m.values(varUnknown))
	}
	if cfg.Layers == 0 {
		w.PoolKey, w.Recency = m.values(varPoolKey), m.values(varRecency)
	}
	for l := range cfg.Layers {
		of := func(name string) []float32 { return m.values(block(name, l)) }
		w.Blocks = append(w.Blocks, serving.Block{
			Query: of(varQuery), Key: of(varKey), Value: of(varValue), Out: of(varOut), Distance: of(varDistance),
			Up: of(varUp), UpBias: of(varUpBias), Down: of(varDown), DownBias: of(varDownBias),
		})
	}
	return serving.NewNeural(w)
}

func (m *model) values(name string) []float32 {
	v := m.ctx.GetVariableByScopeAndName(m.ctx.Scope(), name)
	if v == nil {
		panic(fmt.Sprintf("match: the model has no %s", name)) // the names are this package's own
	}
	return tensors.MustCopyFlatData[float32](v.MustValue())
}

// compose makes one map of the two (text to components, components to dim): the map, text x dim, and what
// is added: the unknown item's own vector less the mean text's image.
func (c *components) compose(second, unknown []float32) (textMap, offset []float32) {
	d := len(unknown)
	textMap, offset = make([]float32, c.dim*d), append([]float32(nil), unknown...)
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
