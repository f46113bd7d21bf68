package engine

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
)

// This file encodes the messages of onnx.proto that a graph needs, field by field. Generated
// message types are not an option: those of other modules are internal, and registering the same
// messages twice in one binary panics.

// The operator set of the graphs and the version of the file format that belongs to it. From
// operator set 18 on, all reductions take their axes as an input.
const (
	opset     = 21
	irVersion = 10
)

// elementType maps an element type to its number in ONNX. Types that a graph cannot hold are
// missing.
var elementType = map[dtypes.DType]uint64{
	dtypes.Float32: 1, dtypes.Uint8: 2, dtypes.Int8: 3, dtypes.Uint16: 4, dtypes.Int16: 5,
	dtypes.Int32: 6,
	dtypes.Int64: 7, dtypes.Bool: 9, dtypes.Float64: 11, dtypes.Uint32: 12, dtypes.Uint64: 13,
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func appendInt(b []byte, n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

// attr is an attribute of a node.
type attr struct {
	name  string
	value any // int, []int or string
}

func (a attr) encode() []byte {
	b := appendString(nil, 1, a.name)
	switch v := a.value.(type) {
	case int:
		return appendInt(appendInt(b, 3, int64(v)), 20, 2)
	case []int:
		for _, i := range v {
			b = appendInt(b, 8, int64(i))
		}
		return appendInt(b, 20, 7)
	default:
		return appendInt(appendString(b, 4, v.(string)), 20, 3)
	}
}

func encodeNode(op string, in, out []string, attrs []attr) []byte {
	var b []byte
	for _, s := range in {
		b = appendString(b, 1, s)
	}
	for _, s := range out {
		b = appendString(b, 2, s)
	}
	b = appendString(b, 4, op)
	for _, a := range attrs {
		b = appendBytes(b, 5, a.encode())
	}
	return b
}

func encodeTensor(name string, dtype dtypes.DType, dims []int, raw []byte) []byte {
	var b []byte
	for _, d := range dims {
		b = appendInt(b, 1, int64(d))
	}
	b = appendInt(b, 2, int64(elementType[dtype]))
	return appendBytes(appendString(b, 8, name), 9, raw)
}

// encodeValue encodes the description of an input or output. free holds a name for each axis
// without a fixed size, else "". It may be nil.
func encodeValue(name string, dtype dtypes.DType, dims []int, free []string) []byte {
	var shape []byte
	for i, d := range dims {
		if i < len(free) && free[i] != "" {
			shape = appendBytes(shape, 1, appendString(nil, 2, free[i]))
		} else {
			shape = appendBytes(shape, 1, appendInt(nil, 1, int64(d)))
		}
	}
	tensor := appendBytes(appendInt(nil, 1, int64(elementType[dtype])), 2, shape)
	return appendBytes(appendString(nil, 1, name), 2, appendBytes(nil, 1, tensor))
}

// graphProto collects the encoded parts of a graph.
type graphProto struct{ nodes, initializers, inputs, outputs [][]byte }

func (g *graphProto) model(name string) []byte {
	var graph []byte
	add := func(n protowire.Number, parts [][]byte) {
		for _, p := range parts {
			graph = appendBytes(graph, n, p)
		}
	}
	add(1, g.nodes)
	graph = appendString(graph, 2, name)
	add(5, g.initializers)
	add(11, g.inputs)
	add(12, g.outputs)
	b := appendString(appendInt(nil, 1, irVersion), 2, "relish")
	return appendBytes(appendBytes(b, 7, graph), 8, appendInt(nil, 2, opset))
}
