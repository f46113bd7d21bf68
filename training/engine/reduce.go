package engine

import (
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/shapeinference"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/support/xslices"
)

// ReduceSum implements backends.Builder. A sum of products becomes a matrix product where it is one.
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
	return b.reduce("ReduceProd", b.whole(in[0]), axes)
}

// reduce is a reduction to which it is all one how often a value is repeated.
func (b *Builder) reduce(op string, x backends.Op, axes []int) (backends.Op, error) {
	n, axes, shape, err := b.reduction(x, axes)
	if err != nil || len(axes) == 0 {
		return n, err
	}
	return b.dropAxes(b.keeping(op, n, axes), shape, axes), nil
}

// reduction checks the operand and the axes (none: all) and gives the result's shape.
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

// keeping reduces along the axes and keeps them, with size 1.
func (b *Builder) keeping(op string, n *node, axes []int) *node {
	shape, dims, there := n.shape.Clone(), slices.Clone(n.dims), []int(nil)
	for _, axis := range axes {
		if dims[axis] > 1 {
			there = append(there, axis)
		}
		shape.Dimensions[axis], dims[axis] = 1, 1
	}
	if there == nil {
		return b.reshape(n, shape, dims)
	}
	return b.add(&node{op: op, shape: shape, dims: dims, in: []*node{n, b.ints(there...)}, attrs: []attr{{"keepdims", 1}}})
}

// sum sums along the axes and keeps them. Along an axis that is owed, it multiplies.
func (b *Builder) sum(n *node, axes []int) *node {
	owed := 1
	for _, axis := range axes {
		owed *= n.shape.Dimensions[axis] / n.dims[axis]
	}
	return b.times(b.keeping("ReduceSum", n, axes), owed)
}

func (b *Builder) times(n *node, factor int) *node {
	if factor == 1 {
		return n
	}
	return b.pair("Mul", n, b.scalar(n.shape.DType, float64(factor)))
}

// dropAxes takes the reduced axes, of size 1, out.
func (b *Builder) dropAxes(n *node, shape shapes.Shape, axes []int) *node {
	dims := make([]int, 0, shape.Rank())
	for i, d := range n.dims {
		if !slices.Contains(axes, i) {
			dims = append(dims, d)
		}
	}
	return b.reshape(n, shape, dims)
}
