package onnxfile

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bytes returns the encoded model. It copies each weight once.
func (m *Model) Bytes() []byte {
	nodes, heads := make([][]byte, len(m.Nodes)), make([][]byte, len(m.weights))
	size := len(m.otherGraphFields)
	for i, n := range m.Nodes {
		nodes[i] = n.bytes()
		size += fieldSize(graphNode, len(nodes[i]))
	}
	for i, w := range m.weights {
		heads[i] = w.head()
		size += fieldSize(graphInitializer, len(heads[i])+len(w.data))
	}
	b := make([]byte, 0, len(m.otherFields)+fieldSize(modelGraph, size))
	b = appendHead(append(b, m.otherFields...), modelGraph, size)
	for _, n := range nodes {
		b = appendMessage(b, graphNode, n)
	}
	for i, w := range m.weights {
		b = appendHead(b, graphInitializer, len(heads[i])+len(w.data))
		b = append(append(b, heads[i]...), w.data...)
	}
	return append(b, m.otherGraphFields...)
}

// fieldSize returns the size of a length-delimited field with a value of n bytes.
func fieldSize(field protowire.Number, n int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(n)
}

// appendHead appends the head of a length-delimited field, whose value of n bytes follows.
func appendHead(b []byte, field protowire.Number, n int) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

func appendMessage(b []byte, n protowire.Number, value []byte) []byte {
	return append(appendHead(b, n, len(value)), value...)
}

func appendInteger(b []byte, n protowire.Number, v int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}

func (n *Node) bytes() (b []byte) {
	for _, s := range n.Inputs {
		b = appendMessage(b, nodeInput, []byte(s))
	}
	for _, s := range n.Outputs {
		b = appendMessage(b, nodeOutput, []byte(s))
	}
	b = appendMessage(b, nodeOp, []byte(n.Op))
	if n.Domain != "" {
		b = appendMessage(b, nodeDomain, []byte(n.Domain))
	}
	return append(b, n.otherFields...)
}

// head returns the encoded weight up to its elements, which are the last field if there are any.
func (w *weight) head() (b []byte) {
	for _, d := range w.dims {
		b = appendInteger(b, tensorDims, d)
	}
	b = appendInteger(b, tensorType, int(w.elemType))
	b = appendMessage(b, tensorName, []byte(w.name))
	b = append(b, w.otherFields...)
	if w.data != nil {
		b = appendHead(b, tensorRaw, len(w.data))
	}
	return b
}

// attribute is an attribute of a node: its name and its encoded value.
type attribute struct {
	name  string
	value []byte
}

// Values of AttributeProto.AttributeType.
const (
	attributeOfInt  = 2
	attributeOfInts = 7
)

func intAttribute(name string, v int) attribute {
	return attribute{name, appendInteger(appendInteger(nil, attributeInt, v), attributeType,
		attributeOfInt)}
}

func intsAttribute(name string, v ...int) attribute {
	var b []byte
	for _, i := range v {
		b = appendInteger(b, attributeInts, i)
	}
	return attribute{name, appendInteger(b, attributeType, attributeOfInts)}
}

// setAttributes adds attributes to a node that has none of these names.
func (n *Node) setAttributes(attributes ...attribute) {
	for _, a := range attributes {
		value := append(appendMessage(nil, attributeName, []byte(a.name)), a.value...)
		n.otherFields = appendMessage(n.otherFields, nodeAttribute, value)
	}
}

// addWeight adds a constant tensor.
func (m *Model) addWeight(name string, elemType uint64, dims []int, data []byte) {
	w := &weight{name: name, elemType: elemType, dims: dims, data: data}
	m.weights, m.byName[name] = append(m.weights, w), w
}

// opset returns the version of the set of operators that the model uses, 0 if it uses none of that
// domain.
func (m *Model) opset(domain string) (version int) {
	_ = walkFields(m.otherFields, func(f protowire.Number, _, value []byte) error {
		if f != modelOpset {
			return nil
		}
		name, v, err := nameAndInteger(value, opsetDomain, opsetVersion)
		if canonicalDomain(name) == domain {
			version = v
		}
		return err
	})
	return version
}

// useOpset has the model use a domain's operators, unless it does already.
func (m *Model) useOpset(domain string, version int) {
	if m.opset(domain) == 0 {
		value := appendMessage(nil, opsetDomain, []byte(domain))
		value = appendInteger(value, opsetVersion, version)
		// A new slice, because Quantize shares the old one between two models.
		m.otherFields = appendMessage(slices.Clone(m.otherFields), modelOpset, value)
	}
}
