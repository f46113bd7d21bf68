// Package onnxfile reads an ONNX model as a list of nodes and weights, changes both, and writes the
// model back. Fields that it does not know are copied byte for byte.
//
// Fine-tuning exports a text encoder with it. SetFloats replaces the weights in the encoder's
// original file. Quantize makes the file with 8-bit weights, which a CPU runs fastest.
package onnxfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Model is a parsed model file. It is not safe for concurrent use.
type Model struct {
	Nodes []*Node // in the order of the file; a node comes after the nodes whose outputs it reads

	weights          []*weight
	byName           map[string]*weight
	otherGraphFields []byte // encoded fields of the graph that are not parsed
	otherFields      []byte // encoded fields of the model that are not parsed
}

// Node is one operation of the graph. Inputs and Outputs are names of values.
type Node struct {
	Op              string
	Inputs, Outputs []string

	otherFields []byte // encoded fields that are not parsed, such as name and attributes
}

// weight is a constant tensor of the graph, in ONNX an initializer.
type weight struct {
	name        string
	dims        []int
	elemType    uint64 // TensorProto.DataType
	data        []byte // little-endian elements, row-major; nil if otherFields has them
	otherFields []byte // encoded fields that are not parsed, such as elements in another encoding
}

// Values of TensorProto.DataType.
const (
	float32Type = 1
	int8Type    = 3
)

// Numbers of protobuf fields in onnx.proto.
const (
	modelGraph = 7

	graphNode        = 1
	graphInitializer = 5

	nodeInput  = 1
	nodeOutput = 2
	nodeOp     = 4

	tensorDims         = 1
	tensorType         = 2
	tensorFloats       = 4
	tensorName         = 8
	tensorRaw          = 9
	tensorDataLocation = 14
)

// Parse reads a model. The caller must not change data while the model is used.
func Parse(data []byte) (*Model, error) {
	m := &Model{byName: map[string]*weight{}}
	found := false
	err := walkFields(data, func(n protowire.Number, whole, value []byte) error {
		if n != modelGraph {
			m.otherFields = append(m.otherFields, whole...)
			return nil
		}
		found = true
		return m.parseGraph(value)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("onnxfile: %w", err)
	case !found:
		return nil, errors.New("onnxfile: the file has no graph: it is not an ONNX model")
	}
	return m, nil
}

// walkFields calls use for each field of a protobuf message. whole is the field with its tag. value
// is the contents of a length-delimited field, nil for fields of other types.
func walkFields(b []byte, use func(n protowire.Number, whole, value []byte) error) error {
	for len(b) > 0 {
		n, kind, head := protowire.ConsumeTag(b)
		if head < 0 {
			return protowire.ParseError(head)
		}
		size := protowire.ConsumeFieldValue(n, kind, b[head:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b[head:])
		}
		if err := use(n, b[:head+size:head+size], value); err != nil {
			return err
		}
		b = b[head+size:]
	}
	return nil
}

func (m *Model) parseGraph(b []byte) error {
	return walkFields(b, func(n protowire.Number, whole, value []byte) error {
		switch n {
		case graphNode:
			node := &Node{}
			m.Nodes = append(m.Nodes, node)
			return node.parse(value)
		case graphInitializer:
			w := &weight{}
			if err := w.parse(value); err != nil {
				return fmt.Errorf("weight %q: %w", w.name, err)
			}
			m.weights, m.byName[w.name] = append(m.weights, w), w
		default:
			m.otherGraphFields = append(m.otherGraphFields, whole...)
		}
		return nil
	})
}

func (n *Node) parse(b []byte) error {
	return walkFields(b, func(f protowire.Number, whole, value []byte) error {
		switch f {
		case nodeInput:
			n.Inputs = append(n.Inputs, string(value))
		case nodeOutput:
			n.Outputs = append(n.Outputs, string(value))
		case nodeOp:
			n.Op = string(value)
		default:
			n.otherFields = append(n.otherFields, whole...)
		}
		return nil
	})
}

func (w *weight) parse(b []byte) error {
	var floats []byte
	err := walkFields(b, func(n protowire.Number, whole, value []byte) error {
		switch n {
		case tensorDims:
			dims, err := parseIntegers(whole, value)
			w.dims = append(w.dims, dims...)
			return err
		case tensorType:
			kind, err := parseIntegers(whole, value)
			if err == nil && len(kind) == 1 {
				w.elemType = uint64(kind[0])
			}
			return err
		case tensorFloats:
			if value == nil { // not packed: a tag of one byte and a number of four bytes
				if len(whole) != 5 {
					return errors.New("a float has the wrong size: the file is damaged")
				}
				value = whole[1:]
			}
			floats = append(floats, value...)
		case tensorName:
			w.name = string(value)
		case tensorRaw:
			w.data = value
		case tensorDataLocation:
			if where, err := parseIntegers(whole, value); err != nil ||
				len(where) == 1 && where[0] != 0 {
				return errors.New("its data is in another file, which is not supported: " +
					"save the model as a single file")
			}
		default:
			w.otherFields = append(w.otherFields, whole...)
		}
		return nil
	})
	if floats != nil {
		w.data = floats
	}
	return err
}

// parseIntegers reads a field with one integer, or with packed integers.
func parseIntegers(whole, packed []byte) (out []int, err error) {
	if packed == nil {
		_, _, head := protowire.ConsumeTag(whole)
		packed = whole[head:]
	}
	for len(packed) > 0 {
		v, n := protowire.ConsumeVarint(packed)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		out, packed = append(out, int(v)), packed[n:]
	}
	return out, nil
}

// Bytes returns the encoded model.
func (m *Model) Bytes() []byte {
	var graph []byte
	for _, n := range m.Nodes {
		graph = appendMessage(graph, graphNode, n.bytes())
	}
	for _, w := range m.weights {
		graph = appendMessage(graph, graphInitializer, w.bytes())
	}
	graph = append(graph, m.otherGraphFields...)
	return appendMessage(slices.Clone(m.otherFields), modelGraph, graph)
}

func appendMessage(b []byte, n protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), value)
}

func (n *Node) bytes() (b []byte) {
	for _, s := range n.Inputs {
		b = appendMessage(b, nodeInput, []byte(s))
	}
	for _, s := range n.Outputs {
		b = appendMessage(b, nodeOutput, []byte(s))
	}
	return append(appendMessage(b, nodeOp, []byte(n.Op)), n.otherFields...)
}

func (w *weight) bytes() (b []byte) {
	for _, d := range w.dims {
		b = protowire.AppendTag(b, tensorDims, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(d))
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, tensorType, protowire.VarintType), w.elemType)
	b = appendMessage(b, tensorName, []byte(w.name))
	if w.data != nil {
		b = appendMessage(b, tensorRaw, w.data)
	}
	return append(b, w.otherFields...)
}

// WeightNames returns the names of the weights, in the order of the file.
func (m *Model) WeightNames() []string {
	names := make([]string, len(m.weights))
	for i, w := range m.weights {
		names[i] = w.name
	}
	return names
}

// Floats returns a copy of a weight with 32-bit floats and its shape. It returns nil if the model
// has no such weight, or if the weight's size does not fit its shape.
func (m *Model) Floats(name string) (values []float32, dims []int) {
	w := m.byName[name]
	if w == nil || w.elemType != float32Type || len(w.data)%4 != 0 {
		return nil, nil
	}
	values = make([]float32, len(w.data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(w.data[4*i:]))
	}
	size := 1
	for _, d := range w.dims {
		if d < 1 || d > len(values)/size {
			return nil, nil
		}
		size *= d
	}
	if size != len(values) {
		return nil, nil
	}
	return values, slices.Clone(w.dims)
}

// SetFloats replaces the values of a weight with 32-bit floats. The number of values must stay the
// same.
func (m *Model) SetFloats(name string, values []float32) error {
	w := m.byName[name]
	if w == nil || w.elemType != float32Type || len(w.data) != 4*len(values) {
		return fmt.Errorf("onnxfile: the model has no weight %q with %d floats", name, len(values))
	}
	w.data = floatBytes(values)
	return nil
}

func floatBytes(values []float32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
