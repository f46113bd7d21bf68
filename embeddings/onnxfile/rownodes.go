package onnxfile

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Names of the constants that the new nodes read, and the prefix of all new values.
const (
	rowPrefix   = "row_quantization/"
	rowOne      = rowPrefix + "one"       // 1
	rowLastAxis = rowPrefix + "last_axis" // [-1]: as an axis, and as a shape
)

func (r *rowQuantizer) addConstants() {
	m := r.model
	m.addWeight(rowOne, float32Type, nil, floatBytes([]float32{1}))
	m.addWeight(rowLastAxis, int64Type, []int{1}, integerBytes(-1))
}

// constant adds a constant unless the model has it, and returns its name.
func (r *rowQuantizer) constant(name string, elemType uint64, dims []int, data []byte) string {
	if name = rowPrefix + name; r.model.byName[name] == nil {
		r.model.addWeight(name, elemType, dims, data)
	}
	return name
}

func (r *rowQuantizer) float(v float32) string {
	return r.constant(fmt.Sprintf("float_%x", math.Float32bits(v)), float32Type, nil,
		floatBytes([]float32{v}))
}

func integerBytes(values ...int) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// elementwise has the operators whose output has the axes of its largest input.
var elementwise = []string{
	"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Tanh", "Cast", "Gelu", "ReduceMean",
	"LayerNormalization", "DequantizeLinear",
}

// markPerToken finds out whether a node's first output has a row per token. It starts at the
// embeddings of the token ids and follows the operators that keep rows.
func (r *rowQuantizer) markPerToken(n *Node) {
	marked := false
	switch {
	case len(n.Inputs) == 0 || len(n.Outputs) == 0:
	case n.Op == "Gather":
		marked = len(n.Inputs) == 2 && n.Inputs[1] == "input_ids"
	case n.Op == "MatMul":
		w := r.model.byName[n.Inputs[len(n.Inputs)-1]]
		marked = r.perToken[n.Inputs[0]] && w != nil && len(w.dims) == 2
	case slices.Contains(elementwise, n.Op):
		marked = slices.ContainsFunc(n.Inputs, func(in string) bool { return r.perToken[in] })
	}
	if p := r.products[n]; p != nil {
		marked = r.perToken[p.quantize.Inputs[0]]
	}
	if marked {
		r.perToken[n.Outputs[0]] = true
	}
}

// add adds a node with one output, and returns the output.
func (r *rowQuantizer) add(op, output string, inputs []string, attributes ...attribute) string {
	n := &Node{Op: op, Inputs: inputs, Outputs: []string{output}}
	n.setAttributes(attributes...)
	r.model.Nodes = append(r.model.Nodes, n)
	return output
}

// addProduct adds the nodes of a product.
func (r *rowQuantizer) addProduct(p *product) {
	x, ok := r.rows[p.quantize]
	if !ok {
		x = r.addRows(p.quantize.Inputs[0], p.width)
		r.rows[p.quantize] = x
	}
	columns := r.add("MatMulIntegerToFloat", p.output+"/columns",
		[]string{x.values, p.w, rowOne, p.scale, x.zero, p.zero})
	r.model.Nodes[len(r.model.Nodes)-1].Domain = microsoft
	r.add("Mul", p.output, []string{columns, x.scales})
}

// addRows adds the nodes that quantize x by rows of the given width. A row of zeros has the scale
// 0: whatever bytes it gets, the product is multiplied by that.
func (r *rowQuantizer) addRows(x string, width int) quantizedRows {
	zero := byte(rowZero)
	if r.isGELU(x) {
		zero = rowZeroGELU
	}
	name := rowPrefix + x
	scales := r.addScales(name, x, zero)
	flat := r.add("Reshape", name+"/flat_scales", []string{scales, rowLastAxis})
	matrix := r.add("Reshape", name+"/matrix", []string{x, r.constant(
		"matrix_"+strconv.Itoa(width), int64Type, []int{2}, integerBytes(-1, width))})
	zeroName := r.constant("zero_"+strconv.Itoa(int(zero)), uint8Type, nil, []byte{zero})
	zeros, shape := r.zerosAndShape(x, flat, zero, zeroName)
	values := r.add("QuantizeLinear", name+"/bytes", []string{matrix, flat, zeros},
		intAttribute("axis", 0))
	r.model.Nodes[len(r.model.Nodes)-1].Domain = microsoft
	values = r.add("Reshape", name+"/values", []string{values, shape})
	return quantizedRows{values, zeroName, scales}
}

// addScales adds the scales of the rows of x, with which all values are bytes from 0 to 255.
func (r *rowQuantizer) addScales(name, x string, zero byte) string {
	if zero == rowZero {
		abs := r.add("Abs", name+"/abs", []string{x})
		largest := r.addReduce("ReduceMax", name+"/largest", abs)
		return r.add("Mul", name+"/scales", []string{largest, r.float(1.0 / (255 - rowZero))})
	}
	above := r.addReduce("ReduceMax", name+"/largest", x)
	below := r.addReduce("ReduceMin", name+"/smallest", x)
	above = r.add("Mul", name+"/above", []string{above, r.float(1 / float32(255-zero))})
	below = r.add("Mul", name+"/below", []string{below, r.float(-1 / float32(zero))})
	return r.add("Max", name+"/scales", []string{above, below})
}

// isGELU reports whether x seems to be the output of GELU: a product with an Erf or Tanh close to
// it. If that is wrong, the bytes are coarser, but no value is cut.
func (r *rowQuantizer) isGELU(x string) bool {
	n := r.producers[x]
	if n == nil || n.Op == "Gelu" {
		return n != nil
	}
	if n.Op != "Mul" {
		return false
	}
	names := n.Inputs
	for range 3 {
		var next []string
		for _, name := range names {
			switch n := r.producers[name]; {
			case n == nil:
			case n.Op == "Erf" || n.Op == "Tanh":
				return true
			case n.Op == "Mul" || n.Op == "Add":
				next = append(next, n.Inputs...)
			}
		}
		names = next
	}
	return false
}

// addReduce adds the maximum or minimum over the last axis.
func (r *rowQuantizer) addReduce(op, output, x string) string {
	if r.model.opset("") >= 18 {
		return r.add(op, output, []string{x, rowLastAxis}, intAttribute("keepdims", 1))
	}
	return r.add(op, output, []string{x}, intsAttribute("axes", -1), intAttribute("keepdims", 1))
}

// zerosAndShape returns the zero points of x's rows, and the shape of x. flat has one element per
// row.
func (r *rowQuantizer) zerosAndShape(
	x, flat string, zero byte, zeroName string,
) (zeros, shape string) {
	addZeros := func(prefix string) string {
		rows := r.add("Shape", prefix+"/rows", []string{flat})
		return r.add("Expand", prefix+"/zeros", []string{zeroName, rows})
	}
	if !r.perToken[x] {
		name := rowPrefix + x
		return addZeros(name), r.add("Shape", name+"/shape", []string{x})
	}
	if r.tokenZeros[zero] == "" {
		r.tokenZeros[zero] = addZeros(rowPrefix + "tokens_" + strconv.Itoa(int(zero)))
	}
	if r.tokenShape == "" {
		tokens := r.add("Shape", rowPrefix+"tokens/axes", []string{"input_ids"})
		r.tokenShape = r.add("Concat", rowPrefix+"tokens/shape", []string{tokens, rowLastAxis},
			intAttribute("axis", 0))
	}
	return r.tokenZeros[zero], r.tokenShape
}
