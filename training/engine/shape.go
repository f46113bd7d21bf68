package engine

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/shapeinference"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// BroadcastInDim implements backends.Builder. The broadcast stays pending, see node.
func (b *Builder) BroadcastInDim(
	x backends.Op, outputShape shapes.Shape, broadcastAxes []int,
) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	if err := shapeinference.BroadcastInDimOp(in[0].shape, outputShape, broadcastAxes); err != nil {
		return nil, err
	}
	dims := slices.Repeat([]int{1}, outputShape.Rank())
	for i, axis := range broadcastAxes {
		dims[axis] = in[0].dims[i]
	}
	shape := shapes.Make(in[0].shape.DType, outputShape.Dimensions...)
	if in[0].kind == constant && len(in[0].dims) == 0 {
		return b.add(&node{kind: constant, shape: shape, dims: dims, data: in[0].data}), nil
	}
	return b.reshape(in[0], shape, dims), nil
}

// Reshape implements backends.Builder.
func (b *Builder) Reshape(x backends.Op, dimensions ...int) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	n := in[0]
	shape, err := shapeinference.ReshapeOp(n.shape, dimensions)
	if err != nil {
		return nil, err
	}
	if !n.broadcastPending() {
		return b.reshape(n, shape, shape.Dimensions), nil
	}
	// Adding or removing axes of size 1 keeps pending broadcasts.
	sizedAxes := func(dims []int) (axes []int) {
		for i, d := range dims {
			if d > 1 {
				axes = append(axes, i)
			}
		}
		return axes
	}
	from, to := sizedAxes(n.shape.Dimensions), sizedAxes(shape.Dimensions)
	dims := slices.Repeat([]int{1}, shape.Rank())
	for i := range min(len(from), len(to)) {
		if n.shape.Dimensions[from[i]] == shape.Dimensions[to[i]] {
			dims[to[i]] = n.dims[from[i]]
		} else {
			from = nil // elements move between axes
			break
		}
	}
	if len(from) != len(to) {
		return b.reshape(b.materialize(n), shape, shape.Dimensions), nil
	}
	return b.reshape(n, shape, dims), nil
}

// Transpose implements backends.Builder.
func (b *Builder) Transpose(x backends.Op, permutation ...int) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.TransposeOp(in[0].shape, permutation); err != nil {
		return nil, err
	}
	return b.permute(in[0], permutation), nil
}

// Concatenate implements backends.Builder.
func (b *Builder) Concatenate(axis int, operands ...backends.Op) (backends.Op, error) {
	in, err := b.nodesOf(operands...)
	if err != nil {
		return nil, err
	}
	var all []shapes.Shape
	for i, n := range in {
		in[i] = b.materialize(n)
		all = append(all, n.shape)
	}
	shape, err := shapeinference.ConcatenateOp(all, axis)
	if err != nil {
		return nil, err
	}
	return b.emit("Concat", shape.DType, shape.Dimensions, in, attr{"axis", axis}), nil
}

// Slice implements backends.Builder.
func (b *Builder) Slice(x backends.Op, starts, limits, strides []int) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	if strides == nil {
		strides = slices.Repeat([]int{1}, len(starts))
	}
	shape, err := shapeinference.SliceOp(in[0].shape, starts, limits, strides)
	if err != nil {
		return nil, err
	}
	return b.slice(in[0], shape, starts, limits, strides), nil
}

// slice slices the axes that are materialized. A pending axis has equal elements, so slicing it
// only changes its size.
func (b *Builder) slice(n *node, shape shapes.Shape, starts, limits, strides []int) *node {
	dims := slices.Clone(shape.Dimensions)
	var from, to, axes, steps []int
	for i := range starts {
		switch {
		case n.dims[i] != n.shape.Dimensions[i]:
			dims[i] = 1
		case starts[i] != 0 || limits[i] != n.dims[i] || strides[i] != 1:
			from, to = append(from, starts[i]), append(to, limits[i])
			axes, steps = append(axes, i), append(steps, strides[i])
		}
	}
	if axes == nil {
		return b.reshape(n, shape, dims)
	}
	return b.add(&node{
		op:    "Slice",
		shape: shape,
		dims:  dims,
		in:    []*node{n, b.ints(from...), b.ints(to...), b.ints(axes...), b.ints(steps...)},
	})
}

// Pad implements backends.Builder. Negative padding is an error.
func (b *Builder) Pad(
	x, fillValue backends.Op, axesConfig ...backends.PadAxis,
) (backends.Op, error) {
	in, err := b.nodesOf(x, fillValue)
	if err != nil {
		return nil, err
	}
	n, fill := b.materialize(in[0]), b.materialize(in[1])
	rank := n.shape.Rank()
	if len(axesConfig) > rank || fill.shape.Rank() != 0 || fill.shape.DType != n.shape.DType {
		return nil, fmt.Errorf("engine: Pad: cannot pad %s with %s on %d axes", n.shape, fill.shape,
			len(axesConfig))
	}
	before, after := make([]int, rank), make([]int, rank)
	for i, c := range axesConfig {
		if c.Start < 0 || c.End < 0 || c.Interior < 0 {
			return nil, fmt.Errorf(
				"engine: Pad: negative padding %+v is not supported; use Slice instead", c)
		}
		before[i], after[i] = c.Start, c.End
		if c.Interior > 0 && n.dims[i] > 1 {
			n = b.padInterior(n, fill, i, c.Interior)
		}
	}
	return b.pad(n, fill, before, after), nil
}

func (b *Builder) pad(n, fill *node, before, after []int) *node {
	dims := slices.Clone(n.dims)
	for i := range dims {
		dims[i] += before[i] + after[i]
	}
	if slices.Equal(dims, n.dims) {
		return n
	}
	pads := b.ints(append(slices.Clone(before), after...)...)
	return b.emit("Pad", n.shape.DType, dims, []*node{n, pads, fill}, attr{"mode", "constant"})
}

// padInterior puts gap fill values between neighbours along an axis. It pads a new axis after this
// one, merges both, and removes the values after the last element.
func (b *Builder) padInterior(n, fill *node, axis, gap int) *node {
	rank, size := n.shape.Rank(), n.dims[axis]
	n = b.reshapeTo(n, slices.Insert(slices.Clone(n.dims), axis+1, 1)...)
	after := make([]int, rank+1)
	after[axis+1] = gap
	n = b.pad(n, fill, make([]int, rank+1), after)
	folded := slices.Delete(slices.Clone(n.dims), axis+1, axis+2)
	folded[axis] = size * (gap + 1)
	n = b.reshapeTo(n, folded...)
	limits := slices.Clone(folded)
	limits[axis] -= gap
	return b.slice(n, shapes.Make(n.shape.DType, limits...), make([]int, rank), limits,
		slices.Repeat([]int{1}, rank))
}

// Iota implements backends.Builder. The graph counts when it runs, because the length may depend on
// the batch size.
func (b *Builder) Iota(shape shapes.Shape, iotaAxis int) (backends.Op, error) {
	if iotaAxis < 0 || iotaAxis >= shape.Rank() {
		return nil, fmt.Errorf("engine: Iota: shape %s has no axis %d", shape, iotaAxis)
	}
	n := shape.Dimensions[iotaAxis]
	zero, end := b.scalar(dtypes.Int64, 0), b.scalar(dtypes.Int64, float64(n))
	one := b.scalar(dtypes.Int64, 1)
	count := b.emit("Range", dtypes.Int64, []int{n}, []*node{zero, end, one})
	dims := slices.Repeat([]int{1}, shape.Rank())
	dims[iotaAxis] = n
	return b.reshape(b.cast(count, shape.DType), shape, dims), nil
}
