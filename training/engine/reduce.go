package engine

import (
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/shapeinference"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/support/xslices"
)

// ReduceSum implements backends.Builder. It turns a sum of products into a matrix product where
// possible.
func (b *Builder) ReduceSum(x backends.Op, axes ...int) (backends.Op, error) {
	n, axes, shape, err := b.reduction(x, axes)
	if err != nil || len(axes) == 0 {
		return n, err
	}
	if n.op == "Mul" && n.isFloat() {
		if sum := b.sumOfProducts(n, axes); sum != nil {
			return b.dropAxes(sum, shape, axes), nil
		}
	}
	return b.dropAxes(b.sum(n, axes), shape, axes), nil
}

// ReduceMax implements backends.Builder.
func (b *Builder) ReduceMax(x backends.Op, axes ...int) (backends.Op, error) {
	return b.reduce("ReduceMax", x, axes)
}

// ReduceMin implements backends.Builder.
func (b *Builder) ReduceMin(x backends.Op, axes ...int) (backends.Op, error) {
	return b.reduce("ReduceMin", x, axes)
}

// ReduceProduct implements backends.Builder.
func (b *Builder) ReduceProduct(x backends.Op, axes ...int) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	return b.reduce("ReduceProd", b.materialize(in[0]), axes)
}

// reduce adds a reduction whose result does not depend on how often a value repeats.
func (b *Builder) reduce(op string, x backends.Op, axes []int) (backends.Op, error) {
	n, axes, shape, err := b.reduction(x, axes)
	if err != nil || len(axes) == 0 {
		return n, err
	}
	return b.dropAxes(b.reduceKeepDims(op, n, axes), shape, axes), nil
}

// reduction checks the operand and the axes, and returns the shape of the result. No axes means all
// axes.
func (b *Builder) reduction(x backends.Op, axes []int) (*node, []int, shapes.Shape, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, nil, shapes.Shape{}, err
	}
	if len(axes) == 0 {
		axes = xslices.Iota(0, in[0].shape.Rank())
	}
	shape, err := shapeinference.ReduceOp(in[0].shape, axes)
	return in[0], axes, shape, err
}

// reduceKeepDims reduces along the axes and keeps them with size 1.
func (b *Builder) reduceKeepDims(op string, n *node, axes []int) *node {
	shape, dims, sized := n.shape.Clone(), slices.Clone(n.dims), []int(nil)
	for _, axis := range axes {
		if dims[axis] > 1 {
			sized = append(sized, axis)
		}
		shape.Dimensions[axis], dims[axis] = 1, 1
	}
	if sized == nil {
		return b.reshape(n, shape, dims)
	}
	return b.add(&node{
		op:    op,
		shape: shape,
		dims:  dims,
		in:    []*node{n, b.ints(sized...)},
		attrs: []attr{{"keepdims", 1}},
	})
}

// sum sums along the axes and keeps them with size 1. A sum along a pending axis is a
// multiplication.
func (b *Builder) sum(n *node, axes []int) *node {
	repeats := 1
	for _, axis := range axes {
		repeats *= n.shape.Dimensions[axis] / n.dims[axis]
	}
	return b.scale(b.reduceKeepDims("ReduceSum", n, axes), repeats)
}

func (b *Builder) scale(n *node, factor int) *node {
	if factor == 1 {
		return n
	}
	return b.binaryNode("Mul", n, b.scalar(n.shape.DType, float64(factor)))
}

// dropAxes removes the reduced axes, which have size 1.
func (b *Builder) dropAxes(n *node, shape shapes.Shape, axes []int) *node {
	dims := make([]int, 0, shape.Rank())
	for i, d := range n.dims {
		if !slices.Contains(axes, i) {
			dims = append(dims, d)
		}
	}
	return b.reshape(n, shape, dims)
}
