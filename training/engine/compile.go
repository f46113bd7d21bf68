package engine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// plan is a graph that is finished: the nodes that its outputs need, in an order that they can be computed in.
type plan struct {
	name    string
	nodes   []*node
	params  []*node // all of the builder's, also those that nothing needs
	outputs []*node // as the graph gives them, of rank 1 at least
	shapes  []shapes.Shape
	draws   []*rngDraw // those that are needed, in order
}

func (b *Builder) plan(outputs []backends.Op) (*plan, error) {
	outs, err := b.nodesOf(outputs...)
	if err != nil {
		return nil, err
	}
	if len(outs) == 0 {
		return nil, fmt.Errorf("engine: graph %q has no output", b.name)
	}
	p := &plan{name: b.name, params: b.params}
	for _, n := range outs {
		p.shapes = append(p.shapes, n.shape)
		n = b.whole(n)
		if n.shape.Rank() == 0 { // see border
			n = b.flat(n, 1)
		}
		// An output of its own: a value may be an input as well, or be given twice.
		p.outputs = append(p.outputs, b.emit("Identity", n.shape.DType, n.dims, []*node{n}))
	}
	needed := make([]bool, len(b.nodes))
	for _, n := range p.outputs {
		needed[n.id] = true
	}
	for i := len(b.nodes) - 1; i >= 0; i-- { // operands come before what is computed from them
		if !needed[i] {
			continue
		}
		for _, in := range b.nodes[i].in {
			needed[in.id] = true
		}
		if d := b.nodes[i].draw; d != nil {
			needed[d.from.id] = true
			if !slices.Contains(p.draws, d) {
				p.draws = append(p.draws, d)
			}
		}
	}
	slices.Reverse(p.draws)
	for _, n := range b.nodes {
		if needed[n.id] {
			p.nodes = append(p.nodes, n)
		}
	}
	return p, nil
}

func (n *node) valueName() string { return "v" + strconv.Itoa(n.id) }

// inputName is the name by which the graph takes a value: a scalar is taken as a [1] of another name.
func (n *node) inputName() string {
	if n.shape.Rank() == 0 {
		return n.valueName() + "_in"
	}
	return n.valueName()
}

// graphDims is a value's dimensions where it enters or leaves the graph: the runtime's wrapper takes no
// scalars, so they travel as [1].
func graphDims(dims []int) []int {
	if len(dims) == 0 {
		return []int{1}
	}
	return dims
}

// inputs are the nodes that are handed to the graph on each run: parameters, then random draws.
func (p *plan) inputs() []*node {
	in := slices.Clone(p.params)
	for _, n := range p.nodes {
		if n.kind == random {
			in = append(in, n)
		}
	}
	return in
}

// unused is the input of a graph that would have none, which the runtime's wrapper does not run.
const unused = "unused"

// model writes the plan as an ONNX file.
func (p *plan) model() []byte {
	var g graphProto
	inputs := p.inputs()
	for _, n := range inputs {
		p.input(&g, n)
	}
	if len(inputs) == 0 {
		g.inputs = append(g.inputs, encodeValue(unused, dtypes.Float32, []int{1}, nil))
	}
	for _, n := range p.nodes {
		switch n.kind {
		case constant:
			g.initializers = append(g.initializers, encodeTensor(n.valueName(), n.shape.DType, n.dims, bytesOf(n.data)))
		case operator:
			g.nodes = append(g.nodes, encodeNode(n.op, valueNames(n.in), []string{n.valueName()}, n.attrs))
		}
	}
	for _, n := range p.outputs {
		g.outputs = append(g.outputs, encodeValue(n.valueName(), n.shape.DType, n.dims, nil))
	}
	return g.model(p.name)
}

// input declares an input and, for a scalar, what makes one of its [1].
func (p *plan) input(g *graphProto, n *node) {
	g.inputs = append(g.inputs, encodeValue(n.inputName(), n.shape.DType, graphDims(n.dims), nil))
	if n.shape.Rank() == 0 {
		g.nodes = append(g.nodes, encodeNode("Squeeze", []string{n.inputName()}, []string{n.valueName()}, nil))
	}
}

func valueNames(nodes []*node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.valueName()
	}
	return names
}

// Compile implements backends.Builder.
func (b *Builder) Compile(outputs []backends.Op, shardings []*backends.ShardingSpec) (backends.Executable, error) {
	if slices.ContainsFunc(shardings, func(s *backends.ShardingSpec) bool { return s != nil }) {
		return nil, errors.New("engine: a graph cannot be spread over devices")
	}
	p, err := b.plan(outputs)
	if err != nil {
		return nil, err
	}
	return b.finish(p)
}
