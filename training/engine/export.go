package engine

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/notimplemented"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/ml/context"
)

// Batch is the size of an axis that is free in an exported graph. All free axes have the same size.
const Batch = -1

// Input is one input of an exported graph. Its rank is 1 at least.
type Input struct {
	Name  string
	DType dtypes.DType
	Dims  []int // Batch where the size is free
}

// Export writes what forward computes as an ONNX file, whose outputs have the given names in forward's
// order. Variables of ctx (which may be nil) that forward uses become constants with the values they have
// now. A scalar output is a [1].
//
// forward is called several times, with the free axes at different sizes; whatever number in the graph then
// differs must be linear in the size, or one over that, and is computed from it when the graph runs. A graph
// that depends on the batch's size in another way is an error, as is one that draws random numbers.
func Export(ctx *context.Context, inputs []Input, outputs []string, forward func(ctx *context.Context, in []*graph.Node) []*graph.Node) ([]byte, error) {
	var plans [3]*plan
	for i, size := range traceSizes {
		p, err := trace(ctx, inputs, size, forward)
		if err != nil {
			return nil, fmt.Errorf("engine: export: %w", err)
		}
		if len(p.outputs) != len(outputs) {
			return nil, fmt.Errorf("engine: export: %d outputs for the names %q", len(p.outputs), outputs)
		}
		plans[i] = p
	}
	x := &exporter{plans: plans, inputs: inputs, names: map[int]string{}}
	return x.export(outputs)
}

// The sizes at which a graph is traced: two give the line, the third tells whether it is one. Primes of a
// size that nothing else in a graph is likely to have.
var traceSizes = [3]int{1009, 1013, 1031}

// tracer is a backend that builds graphs and does not run them.
type tracer struct {
	notimplemented.Backend
	last *plan // of the graph compiled last
}

func (t *tracer) Builder(name string) backends.Builder {
	return newBuilder(name, func(p *plan) (backends.Executable, error) {
		t.last = p
		return traced{p}, nil
	})
}

// traced is the executable of a graph that is not run.
type traced struct{ *plan }

func (traced) Finalize()                           {}
func (traced) Inputs() ([]string, []shapes.Shape)  { return nil, nil }
func (t traced) Outputs() (outputs []shapes.Shape) { return t.shapes }
func (traced) Execute([]backends.Buffer, []bool, backends.DeviceNum) ([]backends.Buffer, error) {
	return nil, errors.New("engine: this graph was built to be exported")
}

// trace builds the graph with the free axes at the given size.
func trace(ctx *context.Context, inputs []Input, size int, forward func(ctx *context.Context, in []*graph.Node) []*graph.Node) (p *plan, err error) {
	defer func() {
		if r := recover(); r != nil { // GoMLX's graph functions panic with errors
			err = fmt.Errorf("%v", r)
		}
	}()
	t := &tracer{}
	g := graph.NewGraph(t, "relish")
	defer g.Finalize()
	var in []*graph.Node
	for _, input := range inputs {
		dims := slices.Clone(input.Dims)
		for i, d := range dims {
			if d == Batch {
				dims[i] = size
			}
		}
		in = append(in, graph.Parameter(g, input.Name, shapes.Make(input.DType, dims...)))
	}
	if ctx != nil {
		ctx = ctx.Reuse()
	}
	outs := forward(ctx, in)
	g.Compile(outs...)
	return t.last, evaluateConstants(ctx, t.last, len(inputs))
}

// evaluateConstants makes constants of the parameters behind the first n, which are variables of the context.
func evaluateConstants(ctx *context.Context, p *plan, n int) error {
	for _, param := range p.params[n:] {
		var value *context.Variable
		if ctx != nil {
			value = ctx.GetVariableByScopeAndName(context.VariableScopeAndNameFromParameterName(param.name))
		}
		if value == nil {
			return fmt.Errorf("the graph uses %s, which is neither an input nor a variable of the context", param.name)
		}
		t, err := value.Value()
		if err != nil {
			return err
		}
		err = t.ConstFlatData(func(flat any) {
			param.kind = constant
			param.data = reflect.AppendSlice(reflect.MakeSlice(reflect.TypeOf(flat), 0, 0), reflect.ValueOf(flat)).Interface()
		})
		if err != nil {
			return err
		}
	}
	p.params = p.params[:n]
	return nil
}
