package engine

import (
	"testing"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// GoMLX writes the gradient of a matrix product as a sum over the product of all pairs. No node of
// the plan may hold all pairs, or anything larger than the largest operand.
func TestNoNodeHoldsAllPairs(t *testing.T) {
	const i, j, k, batch = 11, 13, 17, 3
	for _, c := range []struct {
		name    string
		dims    [2][]int
		forward func(x, y *graph.Node) *graph.Node
	}{
		{"matrices", [2][]int{{i, j}, {j, k}},
			func(x, y *graph.Node) *graph.Node { return graph.Dot(x, y) }},
		{"a matrix and a vector", [2][]int{{i, j}, {j}},
			func(x, y *graph.Node) *graph.Node { return graph.Dot(x, y) }},
		{"sequences and weights", [2][]int{{batch, i, j}, {j, k}},
			func(x, y *graph.Node) *graph.Node { return graph.Einsum("bij,jk->bik", x, y) }},
		{"attention", [2][]int{{batch, i, 2, j}, {batch, k, 2, j}},
			func(x, y *graph.Node) *graph.Node { return graph.Einsum("bihj,bkhj->bhik", x, y) }},
	} {
		tr := &tracer{}
		g := graph.NewGraph(tr, "gradient")
		x := graph.Parameter(g, "x", shapes.Make(dtypes.Float32, c.dims[0]...))
		y := graph.Parameter(g, "y", shapes.Make(dtypes.Float32, c.dims[1]...))
		out := c.forward(x, y)
		limit := max(x.Shape().Size(), y.Shape().Size(), out.Shape().Size())
		g.Compile(graph.Gradient(graph.ReduceAllSum(graph.Mul(out, out)), x, y)...)
		for _, n := range tr.last.nodes {
			if size := product(n.dims); size > limit {
				t.Errorf("%s: %s holds %d numbers, the largest operand %d", c.name, n, size, limit)
			}
		}
		g.Finalize()
	}
}
