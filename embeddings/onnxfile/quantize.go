package onnxfile

import (
	"errors"
	"math"
)

// maxQuantized is the largest magnitude of a quantized weight, half of what a byte holds.
// Processors without VNNI add two products of an unsigned and a signed byte in 16 bits. Larger
// weights could overflow there, and a model must give the same vectors on every machine.
const maxQuantized = 63

// Quantize returns the encoded model with 8-bit integers for the weights of matrix products and
// embedding tables. It does not change m.
//
// The weights of a product have one scale per column. The other operand is quantized at run time,
// with one scale per row, as QuantizeRows does it. A table has one scale per row. A weight that
// several nodes read stays as it is.
func (m *Model) Quantize() ([]byte, error) {
	q := &quantizer{
		source: m,
		target: &Model{
			byName:           map[string]*weight{},
			otherGraphFields: m.otherGraphFields,
			otherFields:      m.otherFields,
		},
		readers:   map[string]int{},
		quantized: map[string]bool{},
	}
	for _, n := range m.Nodes {
		for _, in := range n.Inputs {
			q.readers[in]++
		}
	}
	for _, n := range m.Nodes {
		switch {
		case n.Op == "MatMul" && q.isQuantizable(n, 1):
			q.quantizeMatMul(n)
		case n.Op == "Gather" && n.integer("axis") == 0 && q.isQuantizable(n, 0):
			q.quantizeGather(n)
		default:
			q.target.Nodes = append(q.target.Nodes, n)
		}
	}
	if len(q.target.weights) == 0 {
		return nil, errors.New("onnxfile: nothing to quantize: the model has no matrix products " +
			"or tables of " +
			"32-bit floats; it may be quantized already")
	}
	for _, w := range m.weights {
		if !q.quantized[w.name] {
			q.target.weights, q.target.byName[w.name] = append(q.target.weights, w), w
		}
	}
	q.target.QuantizeRows()
	return q.target.Bytes(), nil
}

// quantizer builds the quantized target from the source model.
type quantizer struct {
	source, target *Model
	// readers has the number of node inputs that read a value, by its name.
	readers map[string]int
	// quantized has the values that exist as integers: weights, and operands of products.
	quantized map[string]bool
}

// isQuantizable reports whether the node has two inputs and one output, and whether the given input
// is a float matrix that no other node reads.
func (q *quantizer) isQuantizable(n *Node, input int) bool {
	if len(n.Inputs) != 2 || len(n.Outputs) != 1 || q.readers[n.Inputs[input]] != 1 {
		return false
	}
	values, dims := q.source.Floats(n.Inputs[input])
	return values != nil && len(dims) == 2 && dims[1] > 1
}

func (q *quantizer) addNode(op, output string, inputs ...string) string {
	q.target.Nodes = append(q.target.Nodes,
		&Node{Op: op, Inputs: inputs, Outputs: []string{output}})
	return output
}

// Suffixes of the values that a quantized value is replaced by.
const (
	quantizedSuffix = "_quantized"
	scaleSuffix     = "_scale"
	zeroPointSuffix = "_zero"
)

// quantizeMatMul replaces x W by (quantized x · quantized W) * scale of x * scales of the columns
// of W.
func (q *quantizer) quantizeMatMul(n *Node) {
	x, w, out := n.Inputs[0], n.Inputs[1], n.Outputs[0]
	if !q.quantized[x] {
		q.quantized[x] = true
		q.target.Nodes = append(q.target.Nodes, &Node{
			Op:      "DynamicQuantizeLinear",
			Inputs:  []string{x},
			Outputs: []string{x + quantizedSuffix, x + scaleSuffix, x + zeroPointSuffix},
		})
	}
	values, dims := q.source.Floats(w)
	q.addQuantized(w, values, dims, 1, dims[1])
	sum := q.addNode("MatMulInteger", out+"_sum",
		x+quantizedSuffix, w+quantizedSuffix, x+zeroPointSuffix)
	scale := q.addNode("Mul", out+"_both_scales", x+scaleSuffix, w+scaleSuffix)
	q.addNode("Mul", out, q.addCast(sum), scale)
}

// quantizeGather replaces table[at] by (quantized table)[at] * scales[at].
func (q *quantizer) quantizeGather(n *Node) {
	table, at, out := n.Inputs[0], n.Inputs[1], n.Outputs[0]
	values, dims := q.source.Floats(table)
	q.addQuantized(table, values, dims, 0, dims[0], 1)
	rows := q.addNode("Gather", out+"_rows", table+quantizedSuffix, at)
	scale := q.addNode("Gather", out+"_row_scales", table+scaleSuffix, at)
	q.addNode("Mul", out, q.addCast(rows), scale)
}

func (q *quantizer) addCast(value string) string {
	n := &Node{Op: "Cast", Inputs: []string{value}, Outputs: []string{value + "_float"}}
	n.setAttributes(intAttribute("to", float32Type))
	q.target.Nodes = append(q.target.Nodes, n)
	return value + "_float"
}

// addQuantized adds a weight to the target as integers, with one scale for each index of the given
// axis. shape is the shape of the scales.
func (q *quantizer) addQuantized(
	name string,
	values []float32,
	dims []int,
	axis int,
	shape ...int,
) {
	q.quantized[name] = true
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
		if scales[i] = v / maxQuantized; v == 0 {
			scales[i] = 1
		}
	}
	data := make([]byte, len(values))
	for i, v := range values {
		data[i] = byte(int8(math.RoundToEven(float64(v / scales[scaleOf(i)]))))
	}
	q.target.addWeight(name+quantizedSuffix, int8Type, dims, data)
	q.target.addWeight(name+scaleSuffix, float32Type, shape, floatBytes(scales))
}
