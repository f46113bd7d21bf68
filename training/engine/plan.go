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

// plan is a finished graph: the nodes that its outputs need, each after its inputs.
type plan struct {
	name    string
	nodes   []*node
	params  []*node // all parameters of the builder, including unused ones
	outputs []*node // as the graph returns them, with a rank of at least 1
	shapes  []shapes.Shape
	draws   []*rngDraw // the draws that the outputs need, in order
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
		n = b.materialize(n)
		if n.shape.Rank() == 0 { // see graphDims
			n = b.reshapeTo(n, 1)
		}
		// Identity makes the output a separate value: a result may also be an input, or occur
		// twice.
		p.outputs = append(p.outputs, b.emit("Identity", n.shape.DType, n.dims, []*node{n}))
	}
	needed := make([]bool, len(b.nodes))
	for _, n := range p.outputs {
		needed[n.id] = true
	}
	for i := len(b.nodes) - 1; i >= 0; i-- { // the inputs of a node come before it
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

// inputName is the name of a value as an input of the graph. A scalar enters as a [1] with another
// name.
func (n *node) inputName() string {
	if n.shape.Rank() == 0 {
		return n.valueName() + "_in"
	}
	return n.valueName()
}

// graphDims returns the dimensions of a value where it enters or leaves the graph. Package onnx
// takes no scalars, so a scalar becomes a [1].
func graphDims(dims []int) []int {
	if len(dims) == 0 {
		return []int{1}
	}
	return dims
}

// inputs returns the nodes that each run passes to the graph: parameters, then random draws.
func (p *plan) inputs() []*node {
	in := slices.Clone(p.params)
	for _, n := range p.nodes {
		if n.kind == random {
			in = append(in, n)
		}
	}
	return in
}

// unused is the input of a graph that has no other inputs. Package onnx cannot run a graph without
// inputs.
const unused = "unused"

// model encodes the plan as an ONNX file.
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
			g.initializers = append(g.initializers,
				encodeTensor(n.valueName(), n.shape.DType, n.dims, bytesOf(n.data)))
		case operator:
			g.nodes = append(g.nodes,
				encodeNode(n.op, valueNames(n.in), []string{n.valueName()}, n.attrs))
		}
	}
	for _, n := range p.outputs {
		g.outputs = append(g.outputs, encodeValue(n.valueName(), n.shape.DType, n.dims, nil))
	}
	return g.model(p.name)
}

// input declares an input. For a scalar it also adds the operator that converts its [1].
func (p *plan) input(g *graphProto, n *node) {
	g.inputs = append(g.inputs, encodeValue(n.inputName(), n.shape.DType, graphDims(n.dims), nil))
	if n.shape.Rank() == 0 {
		g.nodes = append(g.nodes,
			encodeNode("Squeeze", []string{n.inputName()}, []string{n.valueName()}, nil))
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
func (b *Builder) Compile(
	outputs []backends.Op, shardings []*backends.ShardingSpec,
) (backends.Executable, error) {
	if slices.ContainsFunc(shardings, func(s *backends.ShardingSpec) bool { return s != nil }) {
		return nil, errors.New("engine: a graph cannot be sharded over devices")
	}
	p, err := b.plan(outputs)
	if err != nil {
		return nil, err
	}
	return b.finish(p)
}
