package engine

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
)

// The parts of onnx.proto that a graph needs, written field by field: the message types of other modules
// are internal to them, and a second registration of the same messages in one binary panics.

// The operator set that graphs are written for, and the file format's version that belongs to it. From 18
// on all reductions take their axes as an input.
const (
	opset     = 21
	irVersion = 10
)

// elementType gives ONNX's number of an element type, 0 for one that cannot be in a graph.
var elementType = map[dtypes.DType]uint64{
	dtypes.Float32: 1, dtypes.Uint8: 2, dtypes.Int8: 3, dtypes.Uint16: 4, dtypes.Int16: 5, dtypes.Int32: 6,
	dtypes.Int64: 7, dtypes.Bool: 9, dtypes.Float64: 11, dtypes.Uint32: 12, dtypes.Uint64: 13,
}

func field(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func number(b []byte, n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

func text(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

// attr is a node's attribute: an int, a list of ints or a string.
type attr struct {
	name  string
	value any // int, []int or string
}

func (a attr) encode() []byte {
	b := text(nil, 1, a.name)
	switch v := a.value.(type) {
	case int:
		return number(number(b, 3, int64(v)), 20, 2)
	case []int:
		for _, i := range v {
			b = number(b, 8, int64(i))
		}
		return number(b, 20, 7)
	default:
		return number(text(b, 4, v.(string)), 20, 3)
	}
}

func encodeNode(op string, in, out []string, attrs []attr) []byte {
	var b []byte
	for _, s := range in {
		b = text(b, 1, s)
	}
	for _, s := range out {
		b = text(b, 2, s)
	}
	b = text(b, 4, op)
	for _, a := range attrs {
		b = field(b, 5, a.encode())
	}
	return b
}

func encodeTensor(name string, dtype dtypes.DType, dims []int, raw []byte) []byte {
	var b []byte
	for _, d := range dims {
		b = number(b, 1, int64(d))
	}
	b = number(b, 2, int64(elementType[dtype]))
	return field(text(b, 8, name), 9, raw)
}

// encodeValue describes an input or output. An axis with a name in free has no fixed size.
func encodeValue(name string, dtype dtypes.DType, dims []int, free []string) []byte {
	var shape []byte
	for i, d := range dims {
		if free != nil && free[i] != "" {
			shape = field(shape, 1, text(nil, 2, free[i]))
		} else {
			shape = field(shape, 1, number(nil, 1, int64(d)))
		}
	}
	tensor := field(number(nil, 1, int64(elementType[dtype])), 2, shape)
	return field(text(nil, 1, name), 2, field(nil, 1, tensor))
}

// graphProto collects a graph's encoded parts.
type graphProto struct{ nodes, initializers, inputs, outputs [][]byte }

func (g *graphProto) model(name string) []byte {
	var graph []byte
	add := func(n protowire.Number, parts [][]byte) {
		for _, p := range parts {
			graph = field(graph, n, p)
		}
	}
	add(1, g.nodes)
	graph = text(graph, 2, name)
	add(5, g.initializers)
	add(11, g.inputs)
	add(12, g.outputs)
	b := text(number(nil, 1, irVersion), 2, "relish")
	return field(field(b, 7, graph), 8, number(nil, 2, opset))
}
