package engine

import (
	"context"
	"fmt"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/shapes"

	"relish/embeddings/onnx"
)

// Executable is a compiled graph. It implements backends.Executable and is safe for concurrent use.
type Executable struct {
	backend *Backend
	name    string
	model   []byte

	params, randoms []*node // the inputs of the ONNX graph, in this order
	draws           []*rngDraw
	inputNames      []string
	outputs         []shapes.Shape // the shapes that GoMLX sees
	outputNames     []string
}

var _ backends.Executable = (*Executable)(nil)

func newExecutable(b *Backend, p *plan) *Executable {
	e := &Executable{
		backend: b,
		name:    p.name,
		model:   p.model(),
		params:  p.params,
		draws:   p.draws,
		outputs: p.shapes,
	}
	for _, n := range p.inputs() {
		if n.kind == random {
			e.randoms = append(e.randoms, n)
		}
		e.inputNames = append(e.inputNames, n.inputName())
	}
	if e.inputNames == nil {
		e.inputNames = []string{unused}
	}
	e.outputNames = valueNames(p.outputs)
	return e
}

// load makes the executable of a plan and loads it immediately, so that graphs which ONNX Runtime
// rejects fail at compilation.
func (b *Backend) load(p *plan) (backends.Executable, error) {
	e := newExecutable(b, p)
	s, err := b.sessions.acquire(e)
	if err != nil {
		return nil, fmt.Errorf("engine: graph %q: %w", p.name, err)
	}
	b.sessions.release(s)
	return e, nil
}

// Finalize implements backends.Executable.
func (e *Executable) Finalize() { e.backend.sessions.unload(e) }

// Inputs implements backends.Executable.
func (e *Executable) Inputs() (names []string, inputShapes []shapes.Shape) {
	for _, n := range e.params {
		names, inputShapes = append(names, n.name), append(inputShapes, n.shape)
	}
	return names, inputShapes
}

// Outputs implements backends.Executable.
func (e *Executable) Outputs() []shapes.Shape { return e.outputs }

// Execute implements backends.Executable.
func (e *Executable) Execute(
	inputs []backends.Buffer, donate []bool, _ backends.DeviceNum,
) ([]backends.Buffer, error) {
	if e.backend.IsFinalized() {
		return nil, fmt.Errorf("engine: graph %q: the backend is finalized", e.name)
	}
	given, err := e.check(inputs)
	if err != nil {
		return nil, err
	}
	drawn := e.drawAll(given)
	in := make([]onnx.Tensor, 0, len(e.inputNames))
	for _, buf := range given {
		in = append(in, tensorOf(buf))
	}
	for _, n := range e.randoms {
		in = append(in, tensorOf(drawn[n]))
	}
	if len(in) == 0 {
		in = append(in, onnx.Tensor{Shape: []int64{1}, Data: []float32{0}})
	}
	results := make([]backends.Buffer, len(e.outputs))
	out := make([]onnx.Tensor, len(e.outputs))
	for i, shape := range e.outputs {
		buf := e.backend.allocate(shape)
		results[i], out[i] = buf, tensorOf(buf)
	}
	if err := e.run(in, out); err != nil {
		return nil, fmt.Errorf("engine: graph %q: %w", e.name, err)
	}
	for _, buf := range drawn {
		e.backend.pool.put(buf)
	}
	for i, buf := range given {
		if i < len(donate) && donate[i] {
			e.backend.pool.put(buf)
		}
	}
	return results, nil
}

func (e *Executable) run(in, out []onnx.Tensor) error {
	s, err := e.backend.sessions.acquire(e)
	if err != nil {
		return err
	}
	defer e.backend.sessions.release(s)
	return s.graph.Run(context.Background(), in, out)
}

func (e *Executable) check(inputs []backends.Buffer) ([]*buffer, error) {
	if len(inputs) != len(e.params) {
		return nil, fmt.Errorf("engine: graph %q takes %d inputs, not %d",
			e.name, len(e.params), len(inputs))
	}
	given := make([]*buffer, len(inputs))
	for i, in := range inputs {
		buf, err := checkBuffer(in)
		if err != nil {
			return nil, fmt.Errorf("graph %q, input %s: %w", e.name, e.params[i].name, err)
		}
		if !buf.shape.Equal(e.params[i].shape) {
			return nil, fmt.Errorf("engine: graph %q: input %s has shape %s, not %s",
				e.name, e.params[i].name, e.params[i].shape, buf.shape)
		}
		given[i] = buf
	}
	return given, nil
}

// drawAll draws the random numbers of one run, in the order of the draws.
func (e *Executable) drawAll(given []*buffer) map[*node]*buffer {
	drawn := make(map[*node]*buffer, 2*len(e.draws))
	for _, d := range e.draws {
		var state []uint64
		switch d.from.kind {
		case parameter:
			for i, p := range e.params {
				if p == d.from {
					state = given[i].flat.([]uint64)
				}
			}
		case constant:
			state = d.from.data.([]uint64)
		default:
			state = drawn[d.from].flat.([]uint64)
		}
		next, values := e.backend.allocate(d.next.shape), e.backend.allocate(d.values.shape)
		copy(next.flat.([]uint64), randomBits(state, values.flat))
		drawn[d.next], drawn[d.values] = next, values
	}
	return drawn
}

func tensorOf(buf *buffer) onnx.Tensor {
	dims := graphDims(buf.shape.Dimensions)
	shape := make([]int64, len(dims))
	for i, d := range dims {
		shape[i] = int64(d)
	}
	return onnx.Tensor{Shape: shape, Data: buf.flat}
}
