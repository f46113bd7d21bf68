package engine

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
)

// exporter merges the three traces of one graph into one ONNX file.
type exporter struct {
	plans  [3]*plan
	inputs []Input
	proto  graphProto
	names  map[int]string // names of inputs and outputs by node id of the first trace
}

// batchName names the free axis in the file's shapes and the scalar that holds its size.
const batchName = "batch_size"

func (x *exporter) export(outputs []string) ([]byte, error) {
	first := x.plans[0]
	for i, input := range x.inputs {
		x.names[first.params[i].id] = input.Name
		free := make([]string, len(input.Dims))
		for axis, d := range input.Dims {
			if d == Batch {
				free[axis] = batchName
			}
		}
		x.proto.inputs = append(x.proto.inputs,
			encodeValue(input.Name, input.DType, input.Dims, free))
	}
	if err := x.countBatch(); err != nil {
		return nil, err
	}
	for i, n := range first.outputs {
		x.names[n.id] = outputs[i]
	}
	for i := range first.nodes {
		if err := x.node(i); err != nil {
			return nil, fmt.Errorf("engine: export: %w", err)
		}
	}
	for i, n := range first.outputs {
		free := make([]string, len(n.dims))
		for axis, d := range n.dims {
			other := x.plans[1].outputs[i].dims[axis]
			if d == traceSizes[0] && other == traceSizes[1] {
				free[axis] = batchName
			} else if d != other {
				free[axis] = fmt.Sprintf("%s_%d", outputs[i], axis)
			}
		}
		x.proto.outputs = append(x.proto.outputs,
			encodeValue(outputs[i], n.shape.DType, n.dims, free))
	}
	return x.proto.model(first.name), nil
}

// countBatch adds the batch size to the graph as a scalar. The size comes from the shape of the
// first input that has a free axis.
func (x *exporter) countBatch() error {
	for _, input := range x.inputs {
		if len(input.Dims) == 0 {
			return fmt.Errorf("engine: export: input %s is a scalar; give it the shape [1]",
				input.Name)
		}
		axis := slices.Index(input.Dims, Batch)
		if axis < 0 || len(x.proto.nodes) > 0 {
			continue
		}
		size := encodeNode("Shape", []string{input.Name}, []string{batchName + "_axis"},
			[]attr{{"start", axis}, {"end", axis + 1}})
		x.proto.nodes = append(x.proto.nodes, size,
			encodeNode("Squeeze", []string{batchName + "_axis"}, []string{batchName}, nil))
	}
	return nil
}

func (x *exporter) name(n *node) string {
	if name, ok := x.names[n.id]; ok {
		return name
	}
	return n.valueName()
}

// node writes the i-th node. It must be the same in all traces, except for the numbers of a
// constant.
func (x *exporter) node(i int) error {
	n := x.plans[0].nodes[i]
	for _, p := range x.plans[1:] {
		if len(p.nodes) != len(x.plans[0].nodes) || !sameOp(n, p.nodes[i]) {
			return fmt.Errorf("the structure of the graph depends on the batch size, at %s", n)
		}
	}
	switch n.kind {
	case random:
		return errors.New("the graph draws random numbers; disable dropout for the export")
	case operator:
		in := make([]string, len(n.in))
		for k, operand := range n.in {
			in[k] = x.name(operand)
		}
		x.proto.nodes = append(x.proto.nodes, encodeNode(n.op, in, []string{x.name(n)}, n.attrs))
	case constant:
		return x.constant(n, x.plans[1].nodes[i], x.plans[2].nodes[i])
	}
	return nil
}

// sameOp reports whether nodes of two traces are equal except for sizes.
func sameOp(a, b *node) bool {
	if a.id != b.id || a.kind != b.kind || a.op != b.op || a.shape.DType != b.shape.DType ||
		len(a.in) != len(b.in) || !reflect.DeepEqual(a.attrs, b.attrs) {
		return false
	}
	for i := range a.in {
		if a.in[i].id != b.in[i].id {
			return false
		}
	}
	return true
}

// constant writes a constant, or the operators that compute it from the batch size.
func (x *exporter) constant(a, b, c *node) error {
	name, dtype := x.name(a), a.shape.DType
	if reflect.DeepEqual(a.data, b.data) && slices.Equal(a.dims, b.dims) {
		x.proto.initializers = append(x.proto.initializers,
			encodeTensor(name, dtype, a.dims, bytesOf(a.data)))
		return nil
	}
	if !slices.Equal(a.dims, b.dims) || dtype == dtypes.Bool {
		return fmt.Errorf("the size of a constant of shape %v depends on the batch size; "+
			"compute it in the graph", a.dims)
	}
	line, inverse := fitLinear(false, a, b, c), false
	if line == nil && !dtype.IsInt() {
		line, inverse = fitLinear(true, a, b, c), true
	}
	if line == nil {
		return fmt.Errorf(
			"a constant that is %v, %v and %v at batches of %v is not linear in the batch size",
			a.data, b.data, c.data, traceSizes)
	}
	x.proto.initializers = append(x.proto.initializers,
		encodeTensor(name+"_slope", dtype, a.dims, bytesOf(cast(dtype, line.slope))),
		encodeTensor(name+"_start", dtype, a.dims, bytesOf(cast(dtype, line.start))))
	sum := name
	if inverse {
		sum += "_inverse"
	}
	x.proto.nodes = append(x.proto.nodes,
		encodeNode("Cast", []string{batchName}, []string{name + "_batch"},
			[]attr{{"to", int(elementType[dtype])}}),
		encodeNode("Mul", []string{name + "_batch", name + "_slope"}, []string{name + "_part"},
			nil),
		encodeNode("Add", []string{name + "_part", name + "_start"}, []string{sum}, nil),
	)
	if inverse {
		x.proto.nodes = append(x.proto.nodes,
			encodeNode("Reciprocal", []string{sum}, []string{name}, nil))
	}
	return nil
}

// linearFit describes how the elements of a constant depend on the batch size: slope times size
// plus start.
type linearFit struct{ slope, start []float64 }

// fitLinear fits a line through the values of a constant at the traced sizes, or through their
// inverses. It returns nil if no line fits. Slope and start are rounded to integers, because such
// constants count elements: a line through rounded float32 values would be too inaccurate for other
// sizes.
func fitLinear(inverse bool, traces ...*node) *linearFit {
	var at [3][]float64
	for k, n := range traces {
		at[k] = numbers(n.data)
		for i, v := range at[k] {
			if inverse {
				at[k][i] = 1 / v
			}
		}
	}
	l := &linearFit{slope: make([]float64, len(at[0])), start: make([]float64, len(at[0]))}
	first, last := float64(traceSizes[0]), float64(traceSizes[2])
	for i := range l.slope {
		l.slope[i] = math.Round((at[2][i] - at[0][i]) / (last - first))
		l.start[i] = math.Round(at[0][i] - l.slope[i]*first)
		for k, size := range traceSizes {
			diff := math.Abs(l.slope[i]*float64(size) + l.start[i] - at[k][i])
			if !(diff <= 1e-6*math.Abs(at[k][i])) { // also if either is NaN
				return nil
			}
		}
	}
	return l
}

func numbers(data any) []float64 {
	v := reflect.ValueOf(data)
	out := make([]float64, v.Len())
	for i := range out {
		out[i] = v.Index(i).Convert(reflect.TypeFor[float64]()).Float()
	}
	return out
}

// cast converts numbers to a slice of dtype's Go type.
func cast(dtype dtypes.DType, numbers []float64) any {
	out := reflect.MakeSlice(reflect.SliceOf(dtype.GoType()), len(numbers), len(numbers))
	for i, v := range numbers {
		out.Index(i).Set(reflect.ValueOf(v).Convert(dtype.GoType()))
	}
	return out.Interface()
}
