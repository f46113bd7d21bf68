package onnxfile

import (
	"encoding/binary"
	"slices"
	"strconv"
)

// Names of the constants that the new nodes read, and the prefix of all new values.
const (
	rowPrefix   = "row_quantization/"
	rowStep     = rowPrefix + "step"      // largest magnitude of a row → its scale
	rowOne      = rowPrefix + "one"       // 1
	rowZeroName = rowPrefix + "zero"      // the byte that stands for 0
	rowLastAxis = rowPrefix + "last_axis" // [-1]: as an axis, and as a shape
)

func (r *rowQuantizer) addConstants() {
	m := r.model
	m.addWeight(rowStep, float32Type, nil, floatBytes([]float32{1.0 / rowSteps}))
	m.addWeight(rowOne, float32Type, nil, floatBytes([]float32{1}))
	m.addWeight(rowZeroName, uint8Type, nil, []byte{rowZero})
	m.addWeight(rowLastAxis, int64Type, []int{1}, integerBytes(-1))
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
		[]string{x.values, p.w, rowOne, p.scale, rowZeroName, p.zero})
	r.model.Nodes[len(r.model.Nodes)-1].Domain = microsoft
	r.add("Mul", p.output, []string{columns, x.scales})
}

// addRows adds the nodes that quantize x by rows of the given width. A row of zeros has the scale
// 0: whatever bytes it gets, the product is multiplied by that.
func (r *rowQuantizer) addRows(x string, width int) quantizedRows {
	name := rowPrefix + x
	largest := r.addMax(name+"/largest", r.add("Abs", name+"/abs", []string{x}))
	scales := r.add("Mul", name+"/scales", []string{largest, rowStep})
	flat := r.add("Reshape", name+"/flat_scales", []string{scales, rowLastAxis})
	matrix := r.add("Reshape", name+"/matrix", []string{x, r.matrixShape(width)})
	zeros, shape := r.zerosAndShape(x, flat)
	values := r.add("QuantizeLinear", name+"/bytes", []string{matrix, flat, zeros},
		intAttribute("axis", 0))
	r.model.Nodes[len(r.model.Nodes)-1].Domain = microsoft
	return quantizedRows{r.add("Reshape", name+"/values", []string{values, shape}), scales}
}

// addMax adds the maximum over the last axis.
func (r *rowQuantizer) addMax(output, x string) string {
	if r.model.opset("") >= 18 {
		return r.add("ReduceMax", output, []string{x, rowLastAxis}, intAttribute("keepdims", 1))
	}
	return r.add("ReduceMax", output, []string{x},
		intsAttribute("axes", -1), intAttribute("keepdims", 1))
}

// matrixShape returns the constant shape of a matrix with rows of the given width.
func (r *rowQuantizer) matrixShape(width int) string {
	name := rowPrefix + "matrix_" + strconv.Itoa(width)
	if r.model.byName[name] == nil {
		r.model.addWeight(name, int64Type, []int{2}, integerBytes(-1, width))
	}
	return name
}

// zerosAndShape returns the zero points of x's rows, and the shape of x. flat has one element per
// row.
func (r *rowQuantizer) zerosAndShape(x, flat string) (zeros, shape string) {
	addZeros := func(prefix string) string {
		rows := r.add("Shape", prefix+"/rows", []string{flat})
		return r.add("Expand", prefix+"/zeros", []string{rowZeroName, rows})
	}
	if !r.perToken[x] {
		name := rowPrefix + x
		return addZeros(name), r.add("Shape", name+"/shape", []string{x})
	}
	if r.tokenZeros == "" {
		r.tokenZeros = addZeros(rowPrefix + "tokens")
		tokens := r.add("Shape", rowPrefix+"tokens/axes", []string{"input_ids"})
		r.tokenShape = r.add("Concat", rowPrefix+"tokens/shape", []string{tokens, rowLastAxis},
			intAttribute("axis", 0))
	}
	return r.tokenZeros, r.tokenShape
}
