package onnxfile

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxQuantised is the largest magnitude of a quantised weight, half of what a byte holds.
// Processors without VNNI add two products of an unsigned and a signed byte in 16 bits. Larger
// weights could overflow there, and a model must give the same vectors on every machine.
const maxQuantised = 63

// Quantise returns the encoded model with 8-bit integers for the weights of matrix products and
// embedding tables. It does not change m.
//
// The weights of a product have one scale per column, and the other operand is quantised at run
// time (ONNX's DynamicQuantizeLinear). A table has one scale per row. A weight that several nodes
// read stays as it is.
func (m *Model) Quantise() ([]byte, error) {
	q := &quantiser{
		source: m,
		target: &Model{
			byName:           map[string]*weight{},
			otherGraphFields: m.otherGraphFields,
			otherFields:      m.otherFields,
		},
		readers:   map[string]int{},
		quantised: map[string]bool{},
	}
	for _, n := range m.Nodes {
		for _, in := range n.Inputs {
			q.readers[in]++
		}
	}
	for _, n := range m.Nodes {
		switch {
		case n.Op == "MatMul" && q.isQuantisable(n, 1):
			q.quantiseMatMul(n)
		case n.Op == "Gather" && n.axis() == 0 && q.isQuantisable(n, 0):
			q.quantiseGather(n)
		default:
			q.target.Nodes = append(q.target.Nodes, n)
		}
	}
	if len(q.target.weights) == 0 {
		return nil, errors.New("onnxfile: nothing to quantise: the model has no matrix products " +
			"or tables of " +
			"32-bit floats; it may be quantised already")
	}
	for _, w := range m.weights {
		if !q.quantised[w.name] {
			q.target.weights = append(q.target.weights, w)
		}
	}
	return q.target.Bytes(), nil
}

// quantiser builds the quantised target from the source model.
type quantiser struct {
	source, target *Model
	readers        map[string]int  // number of node inputs that read a value, by its name
	quantised      map[string]bool // values that exist as integers: weights, and operands of products
}

// isQuantisable reports whether the node has two inputs and one output, and whether the given input
// is a float matrix that no other node reads.
func (q *quantiser) isQuantisable(n *Node, input int) bool {
	if len(n.Inputs) != 2 || len(n.Outputs) != 1 || q.readers[n.Inputs[input]] != 1 {
		return false
	}
	values, dims := q.source.Floats(n.Inputs[input])
	return values != nil && len(dims) == 2 && dims[1] > 1
}

// axis returns the node's attribute axis, 0 without one.
func (n *Node) axis() (axis int) {
	const attribute, attributeName, attributeInt = 5, 1, 3
	_ = walkFields(n.otherFields, func(f protowire.Number, _, value []byte) error {
		if f != attribute {
			return nil
		}
		name, v := "", 0
		err := walkFields(value, func(f protowire.Number, whole, value []byte) error {
			switch f {
			case attributeName:
				name = string(value)
			case attributeInt:
				if i, err := parseIntegers(whole, value); err == nil && len(i) == 1 {
					v = i[0]
				}
			}
			return nil
		})
		if name == "axis" {
			axis = v
		}
		return err
	})
	return axis
}

func (q *quantiser) addNode(op, output string, inputs ...string) string {
	q.target.Nodes = append(q.target.Nodes,
		&Node{Op: op, Inputs: inputs, Outputs: []string{output}})
	return output
}

// Suffixes of the values that a quantised value is replaced by.
const (
	quantisedSuffix = "_quantised"
	scaleSuffix     = "_scale"
	zeroPointSuffix = "_zero"
)

// quantiseMatMul replaces x W by (quantised x · quantised W) * scale of x * scales of the columns
// of W.
func (q *quantiser) quantiseMatMul(n *Node) {
	x, w, out := n.Inputs[0], n.Inputs[1], n.Outputs[0]
	if !q.quantised[x] {
		q.quantised[x] = true
		q.target.Nodes = append(q.target.Nodes, &Node{
			Op:      "DynamicQuantizeLinear",
			Inputs:  []string{x},
			Outputs: []string{x + quantisedSuffix, x + scaleSuffix, x + zeroPointSuffix},
		})
	}
	values, dims := q.source.Floats(w)
	q.addQuantised(w, values, dims, 1, dims[1])
	sum := q.addNode("MatMulInteger", out+"_sum",
		x+quantisedSuffix, w+quantisedSuffix, x+zeroPointSuffix)
	scale := q.addNode("Mul", out+"_both_scales", x+scaleSuffix, w+scaleSuffix)
	q.addNode("Mul", out, q.addCast(sum), scale)
}

// quantiseGather replaces table[at] by (quantised table)[at] * scales[at].
func (q *quantiser) quantiseGather(n *Node) {
	table, at, out := n.Inputs[0], n.Inputs[1], n.Outputs[0]
	values, dims := q.source.Floats(table)
	q.addQuantised(table, values, dims, 0, dims[0], 1)
	rows := q.addNode("Gather", out+"_rows", table+quantisedSuffix, at)
	scale := q.addNode("Gather", out+"_row_scales", table+scaleSuffix, at)
	q.addNode("Mul", out, q.addCast(rows), scale)
}

func (q *quantiser) addCast(value string) string {
	const to, attribute, kindOfInt = "to", 5, 2
	a := appendMessage(nil, 1, []byte(to))
	a = protowire.AppendVarint(protowire.AppendTag(a, 3, protowire.VarintType), float32Type)
	a = protowire.AppendVarint(protowire.AppendTag(a, 20, protowire.VarintType), kindOfInt)
	q.target.Nodes = append(q.target.Nodes, &Node{
		Op:          "Cast",
		Inputs:      []string{value},
		Outputs:     []string{value + "_float"},
		otherFields: appendMessage(nil, attribute, a),
	})
	return value + "_float"
}

// addQuantised adds a weight to the target as integers, with one scale for each index of the given
// axis. shape is the shape of the scales.
func (q *quantiser) addQuantised(
	name string,
	values []float32,
	dims []int,
	axis int,
	shape ...int,
) {
	q.quantised[name] = true
	largest := make([]float32, dims[axis])
	scaleOf := func(i int) int {
		if axis == 0 {
			return i / dims[1]
		}
		return i % dims[1]
	}
	for i, v := range values {
		largest[scaleOf(i)] = max(largest[scaleOf(i)], float32(math.Abs(float64(v))))
	}
	scales := make([]float32, len(largest))
	for i, v := range largest {
		if scales[i] = v / maxQuantised; v == 0 {
			scales[i] = 1
		}
	}
	data := make([]byte, len(values))
	for i, v := range values {
		data[i] = byte(int8(math.RoundToEven(float64(v / scales[scaleOf(i)]))))
	}
	q.target.weights = append(
		q.target.weights,
		&weight{name: name + quantisedSuffix, elemType: int8Type, dims: dims, data: data},
		&weight{
			name:     name + scaleSuffix,
			elemType: float32Type,
			dims:     shape,
			data:     floatBytes(scales),
		},
	)
}
