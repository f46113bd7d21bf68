package engine

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// kind says where a node's value comes from.
type kind int

const (
	operator  kind = iota // the result of the ONNX operator op over in
	constant              // data
	parameter             // an input that the caller passes to Execute
	random                // drawn by Execute before the graph runs, see random.go
)

// node is one value of a graph under construction.
//
// shape is the shape that GoMLX sees. dims is the shape of the ONNX value: it equals shape, except
// that a broadcast axis still has size 1. Such a broadcast is pending: it is not computed until an
// operator needs it. Pending broadcasts let a sum of products become a matrix product (matmul.go)
// instead of a tensor of all products.
type node struct {
	id    int // index in Builder.nodes
	owner *Builder
	kind  kind
	shape shapes.Shape
	dims  []int

	op    string // kind operator
	in    []*node
	attrs []attr

	data any // kind constant: a slice of shape.DType's Go type

	name string   // kind parameter
	draw *rngDraw // kind random
}

func (n *node) String() string { return fmt.Sprintf("%s#%d%v", n.op, n.id, n.shape) }

// broadcastPending reports whether some axis is not yet broadcast to its full size.
func (n *node) broadcastPending() bool { return !slices.Equal(n.dims, n.shape.Dimensions) }

func (n *node) isFloat() bool {
	return n.shape.DType == dtypes.Float32 || n.shape.DType == dtypes.Float64
}

// add appends a node to the builder's list. Its inputs must be in the list already.
func (b *Builder) add(n *node) *node {
	n.id, n.owner = len(b.nodes), b
	if n.dims == nil {
		n.dims = n.shape.Dimensions
	}
	b.nodes = append(b.nodes, n)
	return n
}

// emit adds an operator whose value has the same dimensions for GoMLX and for ONNX.
func (b *Builder) emit(op string, dtype dtypes.DType, dims []int, in []*node, attrs ...attr) *node {
	return b.add(&node{op: op, shape: shapes.Make(dtype, dims...), in: in, attrs: attrs})
}

// constants adds a one-dimensional constant with the given elements.
func constants[T any](b *Builder, dtype dtypes.DType, data ...T) *node {
	return b.add(&node{kind: constant, shape: shapes.Make(dtype, len(data)), data: data})
}

// ints adds an int64 constant. ONNX operators take shapes and axes in this form.
func (b *Builder) ints(v ...int) *node {
	data := make([]int64, len(v))
	for i, x := range v {
		data[i] = int64(x)
	}
	return constants(b, dtypes.Int64, data...)
}

// scalar adds a constant of rank 0.
func (b *Builder) scalar(dtype dtypes.DType, v float64) *node {
	return b.add(&node{kind: constant, shape: shapes.Make(dtype), data: oneElement(dtype, v)})
}

// oneElement returns a slice of dtype's Go type that holds v.
func oneElement(dtype dtypes.DType, v float64) any {
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

// materialize computes the pending broadcasts of n, so that its dims equal its shape.
func (b *Builder) materialize(n *node) *node {
	if !n.broadcastPending() {
		return n
	}
	dims := n.shape.Dimensions
	return b.emit("Expand", n.shape.DType, dims, []*node{n, b.ints(dims...)})
}

// reshape returns n with another ONNX shape of the same size (dims) and another GoMLX shape
// (shape).
func (b *Builder) reshape(n *node, shape shapes.Shape, dims []int) *node {
	if !slices.Equal(n.dims, dims) {
		n = b.emit("Reshape", n.shape.DType, dims, []*node{n, b.ints(dims...)})
	}
	// The copy keeps its id: it is the same value under another shape.
	view := *n
	view.shape, view.dims = shape, dims
	return &view
}

// reshapeTo reshapes a node that has no pending broadcast.
func (b *Builder) reshapeTo(n *node, dims ...int) *node {
	return b.reshape(n, shapes.Make(n.shape.DType, dims...), dims)
}

// permute reorders axes: axis i of the result is axis perm[i] of n, in both shapes.
func (b *Builder) permute(n *node, perm []int) *node {
	if slices.IsSorted(perm) {
		return n
	}
	shape, dims := shapes.Make(n.shape.DType, make([]int, len(perm))...), make([]int, len(perm))
	for i, p := range perm {
		shape.Dimensions[i], dims[i] = n.shape.Dimensions[p], n.dims[p]
	}
	return b.add(&node{
		op:    "Transpose",
		shape: shape,
		dims:  dims,
		in:    []*node{n},
		attrs: []attr{{"perm", slices.Clone(perm)}},
	})
}

// nodesOf returns the operands as nodes. An operand of another builder is an error.
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

// bytesOf returns the memory of a slice of numbers or booleans as bytes in the machine's byte
// order. ONNX files are little-endian, and so is every machine that ONNX Runtime has binaries for.
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
