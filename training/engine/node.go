package engine

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// A kind says where a node's value comes from.
type kind int

const (
	operator  kind = iota // an ONNX operator over in
	constant              // data
	parameter             // handed to Execute
	random                // drawn by Execute before the graph runs: see random.go
)

// node is one value of a graph that is being built.
//
// shape is what GoMLX knows. dims is what the ONNX value has: the same, or 1 on axes along which it is yet
// to be repeated. A broadcast is kept in this owed form as long as the operators allow, which is what lets
// a sum of products become a matrix product (product.go) rather than a tensor of all the products.
type node struct {
	id    int // place in the builder's list
	owner *Builder
	kind  kind
	shape shapes.Shape
	dims  []int

	op    string // operator
	in    []*node
	attrs []attr

	data any // constant: a slice of shape.DType's elements

	name string   // parameter
	draw *rngDraw // random
}

func (n *node) String() string { return fmt.Sprintf("%s#%d%v", n.op, n.id, n.shape) }

// owes tells whether the value is yet to be repeated along some axis.
func (n *node) owes() bool { return !slices.Equal(n.dims, n.shape.Dimensions) }

func (n *node) isFloat() bool {
	return n.shape.DType == dtypes.Float32 || n.shape.DType == dtypes.Float64
}

// add puts a node into the builder's list, behind all that it is computed from.
func (b *Builder) add(n *node) *node {
	n.id, n.owner = len(b.nodes), b
	if n.dims == nil {
		n.dims = n.shape.Dimensions
	}
	b.nodes = append(b.nodes, n)
	return n
}

// emit adds an operator whose value has the given dimensions, for both GoMLX and ONNX.
func (b *Builder) emit(op string, dtype dtypes.DType, dims []int, in []*node, attrs ...attr) *node {
	return b.add(&node{op: op, shape: shapes.Make(dtype, dims...), in: in, attrs: attrs})
}

// constants makes a constant of the given elements, one axis.
func constants[T any](b *Builder, dtype dtypes.DType, data ...T) *node {
	return b.add(&node{kind: constant, shape: shapes.Make(dtype, len(data)), data: data})
}

// ints makes the int64 constant that operators take for shapes and axes.
func (b *Builder) ints(v ...int) *node {
	data := make([]int64, len(v))
	for i, x := range v {
		data[i] = int64(x)
	}
	return constants(b, dtypes.Int64, data...)
}

// scalar makes a rank-0 constant of a number type.
func (b *Builder) scalar(dtype dtypes.DType, v float64) *node {
	return b.add(&node{kind: constant, shape: shapes.Make(dtype), data: oneOf(dtype, v)})
}

// oneOf gives a slice with the one number v.
func oneOf(dtype dtypes.DType, v float64) any {
	switch dtype {
	case dtypes.Float32:
		return []float32{float32(v)}
	case dtypes.Float64:
		return []float64{v}
	case dtypes.Int32:
		return []int32{int32(v)}
	default:
		return []int64{int64(v)}
	}
}

// whole repeats what is yet to be repeated.
func (b *Builder) whole(n *node) *node {
	if !n.owes() {
		return n
	}
	dims := n.shape.Dimensions
	return b.emit("Expand", n.shape.DType, dims, []*node{n, b.ints(dims...)})
}

// reshape gives the value other dimensions of the same size, as ONNX sees them, and another shape, as GoMLX
// sees it.
func (b *Builder) reshape(n *node, shape shapes.Shape, dims []int) *node {
	if !slices.Equal(n.dims, dims) {
		n = b.emit("Reshape", n.shape.DType, dims, []*node{n, b.ints(dims...)})
	}
	seen := *n // the same node, seen with another shape
	seen.shape, seen.dims = shape, dims
	return &seen
}

// flat is reshape where nothing is owed.
func (b *Builder) flat(n *node, dims ...int) *node {
	return b.reshape(n, shapes.Make(n.shape.DType, dims...), dims)
}

// permute reorders axes: axis i of the result is axis perm[i] of n, in both views.
func (b *Builder) permute(n *node, perm []int) *node {
	if slices.IsSorted(perm) {
		return n
	}
	shape, dims := shapes.Make(n.shape.DType, make([]int, len(perm))...), make([]int, len(perm))
	for i, p := range perm {
		shape.Dimensions[i], dims[i] = n.shape.Dimensions[p], n.dims[p]
	}
	return b.add(&node{op: "Transpose", shape: shape, dims: dims, in: []*node{n}, attrs: []attr{{"perm", slices.Clone(perm)}}})
}

// nodesOf checks that an operand is a node of this builder.
func (b *Builder) nodesOf(ops ...backends.Op) ([]*node, error) {
	out := make([]*node, len(ops))
	for i, op := range ops {
		n, ok := op.(*node)
		if !ok || n.owner != b {
			return nil, fmt.Errorf("engine: operand %d of %q belongs to another graph", i, b.name)
		}
		out[i] = n
	}
	return out, nil
}

// bytesOf views a slice of numbers or booleans as bytes in the machine's order, which on every machine
// that ONNX Runtime's binaries exist for is ONNX's little-endian.
func bytesOf(data any) []byte {
	switch s := data.(type) {
	case []float32:
		return asBytes(s)
	case []float64:
		return asBytes(s)
	case []int64:
		return asBytes(s)
	case []int32:
		return asBytes(s)
	case []int16:
		return asBytes(s)
	case []int8:
		return asBytes(s)
	case []uint64:
		return asBytes(s)
	case []uint32:
		return asBytes(s)
	case []uint16:
		return asBytes(s)
	case []uint8:
		return s
	case []bool:
		return asBytes(s)
	}
	return nil
}

func asBytes[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}

func product(dims []int) int {
	p := 1
	for _, d := range dims {
		p *= d
	}
	return p
}
