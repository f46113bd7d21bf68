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

// Batch marks an axis without a fixed size in an exported graph. All such axes have the same size.
const Batch = -1

// Input is one input of an exported graph. Its rank is at least 1.
type Input struct {
	Name  string
	DType dtypes.DType
	Dims  []int // Batch for an axis without a fixed size
}

// Export returns an ONNX file that computes forward. outputs are the names of forward's results, in
// order. The variables of ctx that forward uses become constants with their current values; ctx may
// be nil. A scalar result has shape [1].
//
// Export calls forward three times with different batch sizes. A number that differs between the
// traces must be linear in the batch size, or the inverse of a linear function. The file then
// computes it from the batch size. Export returns an error if the graph depends on the batch size
// in another way, or if it draws random numbers.
func Export(
	ctx *context.Context, inputs []Input, outputs []string,
	forward func(ctx *context.Context, in []*graph.Node) []*graph.Node,
) ([]byte, error) {
	var plans [3]*plan
	for i, size := range traceSizes {
		p, err := trace(ctx, inputs, size, forward)
		if err != nil {
			return nil, fmt.Errorf("engine: export: %w", err)
		}
		if len(p.outputs) != len(outputs) {
			return nil, fmt.Errorf("engine: export: forward returned %d outputs for %d names %q",
				len(p.outputs), len(outputs), outputs)
		}
		plans[i] = p
	}
	x := &exporter{plans: plans, inputs: inputs, names: map[int]string{}}
	return x.export(outputs)
}

// traceSizes are the batch sizes of the traces. Two sizes determine a line, and the third checks
// it. They are primes that are unlikely to occur as another size of a graph.
var traceSizes = [3]int{1009, 1013, 1031}

// tracer is a backend that builds graphs and cannot run them.
type tracer struct {
	notimplemented.Backend
	last *plan // the graph that was compiled last
}

func (t *tracer) Builder(name string) backends.Builder {
	return newBuilder(name, func(p *plan) (backends.Executable, error) {
		t.last = p
		return tracedExecutable{p}, nil
	})
}

// tracedExecutable is the executable of a graph that cannot run.
type tracedExecutable struct{ *plan }

func (tracedExecutable) Finalize()                           {}
func (tracedExecutable) Inputs() ([]string, []shapes.Shape)  { return nil, nil }
func (t tracedExecutable) Outputs() (outputs []shapes.Shape) { return t.shapes }
func (tracedExecutable) Execute(
	[]backends.Buffer, []bool, backends.DeviceNum,
) ([]backends.Buffer, error) {
	return nil, errors.New("engine: this graph is for export and cannot run")
}

// trace builds the graph with the given batch size.
func trace(
	ctx *context.Context, inputs []Input, size int,
	forward func(ctx *context.Context, in []*graph.Node) []*graph.Node,
) (p *plan, err error) {
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

// evaluateConstants replaces the parameters after the first n, which are variables of the context,
// by constants.
func evaluateConstants(ctx *context.Context, p *plan, n int) error {
	for _, param := range p.params[n:] {
		var value *context.Variable
		if ctx != nil {
			value = ctx.GetVariableByScopeAndName(
				context.VariableScopeAndNameFromParameterName(param.name))
		}
		if value == nil {
			return fmt.Errorf(
				"the graph uses %s, which is neither an input nor a variable of the context",
				param.name)
		}
		t, err := value.Value()
		if err != nil {
			return err
		}
		err = t.ConstFlatData(func(flat any) {
			param.kind = constant
			empty := reflect.MakeSlice(reflect.TypeOf(flat), 0, 0)
			param.data = reflect.AppendSlice(empty, reflect.ValueOf(flat)).Interface()
		})
		if err != nil {
			return err
		}
	}
	p.params = p.params[:n]
	return nil
}
