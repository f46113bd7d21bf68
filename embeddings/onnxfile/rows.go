package onnxfile

import "slices"

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// The bytes that stand for 0 in quantized activations, of which the largest is 255. After GELU,
// whose values are above -0.17, most bytes are for values above 0.
const (
	rowZero     = 128
	rowZeroGELU = 24
)

// QuantizeRows has the model quantize each row of an activation with a scale of its own. It reports
// whether it changed the model.
//
// Models with 8-bit weights usually quantize activations with DynamicQuantizeLinear, which takes
// one scale for the whole tensor. Then the vector of a text depends on the texts beside it. A row
// is the state of one token, so with a scale per row the vector depends on the text only.
//
// QuantizeRows replaces x·W, computed by DynamicQuantizeLinear, MatMulInteger, Cast and two Mul, if
// W and its scales are constants. What has another form stays as it is. The new nodes quantize with
// ONNX Runtime's QuantizeLinear, which takes one scale per row whatever the model's opset, and
// multiply with its MatMulIntegerToFloat, which applies the scales of W but cannot take those of
// the rows. So a Mul applies these after it.
func (m *Model) QuantizeRows() (changed bool) {
	r := &rowQuantizer{
		model:      m,
		producers:  map[string]*Node{},
		readers:    map[string][]*Node{},
		products:   map[*Node]*product{},
		removed:    map[*Node]bool{},
		perToken:   map[string]bool{},
		rows:       map[*Node]quantizedRows{},
		tokenZeros: map[byte]string{},
	}
	r.findProducts()
	if len(r.products) == 0 {
		return false
	}
	m.useOpset(microsoft, 1)
	r.addConstants()
	nodes := m.Nodes
	m.Nodes = make([]*Node, 0, 2*len(nodes))
	for _, n := range nodes {
		r.markPerToken(n)
		switch p := r.products[n]; {
		case p != nil:
			r.addProduct(p)
		case !r.removed[n]:
			m.Nodes = append(m.Nodes, n)
		}
	}
	return true
}

// rowQuantizer replaces nodes of a model.
type rowQuantizer struct {
	model     *Model
	producers map[string]*Node   // by output
	readers   map[string][]*Node // by input
	products  map[*Node]*product // by the node that gives the result
	removed   map[*Node]bool
	// perToken has the values whose axes before the last are those of the token ids.
	perToken map[string]bool
	// rows are the activations that are quantized already, by the node that quantized them.
	rows map[*Node]quantizedRows
	// tokenZeros (by zero point) and tokenShape are what all values per token have in common. They
	// are computed once, since on one short text the number of nodes counts most.
	tokenZeros map[byte]string
	tokenShape string
}

// product is one x·W of the model that is replaced.
type product struct {
	quantize *Node // DynamicQuantizeLinear of x
	w, zero  string
	scale    string // of W
	output   string
	width    int // of the rows of x
}

// quantizedRows are an activation's rows as integers, what stands for 0 in them, and their scales.
type quantizedRows struct{ values, zero, scales string }

// findProducts finds what is to be replaced. An activation is left alone if something else reads
// its quantized form.
func (r *rowQuantizer) findProducts() {
	for _, n := range r.model.Nodes {
		for _, out := range n.Outputs {
			r.producers[out] = n
		}
		for _, in := range n.Inputs {
			r.readers[in] = append(r.readers[in], n)
		}
	}
	for _, n := range r.model.Nodes {
		if n.Op != "DynamicQuantizeLinear" || len(n.Inputs) != 1 || len(n.Outputs) != 3 {
			continue
		}
		found := map[*Node]*product{}
		removed := []*Node{n}
		for _, multiply := range r.readers[n.Outputs[0]] {
			result, p, between := r.matchProduct(n, multiply)
			if p == nil {
				break
			}
			found[result] = p
			removed = append(removed, between...)
		}
		// Each product reads the values and the zero point once, and the scale once.
		count := len(found)
		if count == 0 || len(r.readers[n.Outputs[0]]) != count ||
			len(r.readers[n.Outputs[1]]) != count || len(r.readers[n.Outputs[2]]) != count {
			continue
		}
		for result, p := range found {
			r.products[result] = p
		}
		for _, old := range removed {
			r.removed[old] = true
		}
	}
}

// matchProduct returns the product that multiply begins, the node that gives its result, and the
// nodes between. quantize gives the first factor.
func (r *rowQuantizer) matchProduct(
	quantize, multiply *Node,
) (result *Node, p *product, between []*Node) {
	in := multiply.Inputs
	if multiply.Op != "MatMulInteger" || len(in) < 3 || in[0] != quantize.Outputs[0] ||
		in[2] != quantize.Outputs[2] {
		return nil, nil, nil
	}
	w := r.model.byName[in[1]]
	cast := r.onlyReader(multiply)
	if w == nil || len(w.dims) != 2 || cast == nil || cast.Op != "Cast" ||
		cast.integer("to") != float32Type {
		return nil, nil, nil
	}
	p = &product{quantize: quantize, w: in[1], width: w.dims[0]}
	if len(in) > 3 {
		p.zero = in[3]
	}
	result = r.onlyReader(cast)
	if result == nil || result.Op != "Mul" || len(result.Outputs) != 1 {
		return nil, nil, nil
	}
	scales := r.producers[other(result, cast.Outputs[0])]
	if scales == nil || scales.Op != "Mul" || r.onlyReader(scales) != result ||
		!slices.Contains(scales.Inputs, quantize.Outputs[1]) {
		return nil, nil, nil
	}
	p.scale = other(scales, quantize.Outputs[1])
	s := r.model.byName[p.scale]
	if s == nil || s.elemType != float32Type || len(s.data) != 4 && len(s.data) != 4*w.dims[1] {
		return nil, nil, nil
	}
	p.output = result.Outputs[0]
	return result, p, []*Node{multiply, cast, scales, result}
}

// onlyReader returns the node that reads the node's only output, nil if there are more or none.
func (r *rowQuantizer) onlyReader(n *Node) *Node {
	if len(n.Outputs) != 1 || len(r.readers[n.Outputs[0]]) != 1 {
		return nil
	}
	return r.readers[n.Outputs[0]][0]
}

// other returns the input of a node with two inputs that is not the given one.
func other(n *Node, input string) string {
	if len(n.Inputs) != 2 {
		return ""
	}
	if n.Inputs[0] == input {
		return n.Inputs[1]
	}
	return n.Inputs[0]
}
