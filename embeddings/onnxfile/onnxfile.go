// Package onnxfile reads an ONNX model as a list of nodes and weights, changes both, and writes the
// model back. Fields that it does not know are copied byte for byte.
//
// Fine-tuning exports a text encoder with it. SetFloats replaces the weights in the encoder's
// original file. Quantize makes the file with 8-bit weights, which a CPU runs fastest. QuantizeRows
// makes the vectors of a quantized model independent of the batch. Check refuses models that no
// runtime should read.
package onnxfile

import (
	"errors"
	"fmt"

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

// Node is one operation of the graph. Inputs and Outputs are names of values. Domain is the set of
// operators that Op belongs to: "" for ONNX itself.
type Node struct {
	Op, Domain      string
	Inputs, Outputs []string

	otherFields []byte // encoded fields that are not parsed, such as name and attributes
}

// Values of TensorProto.DataType.
const (
	float32Type = 1
	uint8Type   = 2
	int8Type    = 3
	int64Type   = 7
)

// Numbers of protobuf fields in onnx.proto.
const (
	modelGraph = 7
	modelOpset = 8

	graphNode        = 1
	graphInitializer = 5

	nodeInput     = 1
	nodeOutput    = 2
	nodeOp        = 4
	nodeAttribute = 5
	nodeDomain    = 7

	opsetDomain  = 1
	opsetVersion = 2

	attributeName = 1
	attributeInt  = 3
	attributeInts = 8
	attributeType = 20

	tensorDims         = 1
	tensorType         = 2
	tensorFloats       = 4
	tensorName         = 8
	tensorRaw          = 9
	tensorDataLocation = 14
)

var (
	errNoGraph      = errors.New("onnxfile: the file has no graph: it is not an ONNX model")
	errExternalData = errors.New("its data is in another file, which is not supported: save the " +
		"model as a single file")
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
		return nil, errNoGraph
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
		case nodeDomain:
			n.Domain = canonicalDomain(string(value))
		default:
			n.otherFields = append(n.otherFields, whole...)
		}
		return nil
	})
}

// canonicalDomain returns "" for the other name of ONNX's own domain.
func canonicalDomain(s string) string {
	if s == "ai.onnx" {
		return ""
	}
	return s
}

// integer returns the node's integer attribute of that name, 0 without one.
func (n *Node) integer(name string) (v int) {
	_ = walkFields(n.otherFields, func(f protowire.Number, _, value []byte) error {
		if f != nodeAttribute {
			return nil
		}
		found, i, err := nameAndInteger(value, attributeName, attributeInt)
		if found == name {
			v = i
		}
		return err
	})
	return v
}

// nameAndInteger reads a message that holds a name and an integer in the given fields.
func nameAndInteger(
	b []byte, nameField, integerField protowire.Number,
) (name string, v int, err error) {
	err = walkFields(b, func(f protowire.Number, whole, value []byte) error {
		switch f {
		case nameField:
			name = string(value)
		case integerField:
			i, err := parseIntegers(whole, value)
			if err == nil && len(i) == 1 {
				v = i[0]
			}
			return err
		}
		return nil
	})
	return name, v, err
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
