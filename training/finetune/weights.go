package finetune

import (
	"fmt"

	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"relish/embeddings/onnxfile"
)

// trainableNames returns the names of the variables that training changes, in a fixed order.
func (n *network) trainableNames() (names []string) {
	for _, name := range n.variableNames() {
		for _, v := range []string{name, name + leftFactor, name + rightFactor} {
			if x := n.variable(v); x != nil && x.Trainable {
				names = append(names, v)
			}
		}
	}
	return names
}

// createAverages adds a moving average for each trainable variable, starting at its current value
// (Polyak and Juditsky 1992, here with exponentially decaying weights).
func (n *network) createAverages() {
	for _, name := range n.trainableNames() {
		v := n.variable(name)
		n.setVariable(averagePrefix+name, tensors.MustCopyFlatData[float32](v.MustValue()),
			v.Shape().Dimensions...).
			SetTrainable(false)
	}
}

// updateAverages updates the moving averages in a graph that changes the variables.
func (n *network) updateAverages(g *Graph, keep float64) {
	for _, name := range n.trainableNames() {
		current, average := n.variable(name), n.variable(averagePrefix+name)
		if current.ChangedInGraph(g) {
			kept := MulScalar(average.ValueGraph(g), keep)
			average.SetValueGraph(Add(kept, MulScalar(current.ValueGraph(g), 1-keep)))
		}
	}
}

// averages returns copies of the moving averages, by variable name.
func (n *network) averages() map[string][]float32 {
	out := map[string][]float32{}
	for _, name := range n.trainableNames() {
		out[name] = flatValues(n.variable(averagePrefix + name))
	}
	return out
}

func flatValues(v *context.Variable) []float32 {
	return tensors.MustCopyFlatData[float32](v.MustValue())
}

// exportFile writes trained values into the weights of the file and returns the file. It adds
// low-rank updates to their matrices.
func (n *network) exportFile(trained map[string][]float32) (*onnxfile.Model, error) {
	for _, name := range n.variableNames() {
		values, dims := n.file.Floats(n.source[name])
		switch {
		case trained[name+leftFactor] != nil:
			addProduct(values, trained[name+leftFactor], trained[name+rightFactor], dims[1], n.rank)
		case trained[name] == nil:
			continue
		case name == tokenEmbeddings:
			for i, row := range n.vocab {
				copy(values[int(row)*dims[1]:], trained[name][i*dims[1]:(i+1)*dims[1]])
			}
		default:
			values = trained[name]
		}
		if err := n.file.SetFloats(n.source[name], values); err != nil {
			return nil, fmt.Errorf("finetune: weight %s: %w", name, err)
		}
	}
	return n.file, nil
}

// addProduct adds left (rows x rank) times right (rank x width) to m.
func addProduct(m, left, right []float32, width, rank int) {
	for i := range len(m) / width {
		row := m[i*width : (i+1)*width]
		for k := range rank {
			f := left[i*rank+k]
			for j, v := range right[k*width : (k+1)*width] {
				row[j] += f * v
			}
		}
	}
}
