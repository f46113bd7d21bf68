package engine

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/shapeinference"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/support/xslices"
)

// Gather implements backends.Builder for whole rows along the leading axes, which is the form that
// graph.Gather uses. As GoMLX defines it, an index out of range is clamped to the nearest row.
func (b *Builder) Gather(
	operand, startIndices backends.Op, indexVectorAxis int,
	offsetOutputAxes, collapsedSliceAxes, startIndexMap, sliceSizes []int, indicesAreSorted bool,
) (backends.Op, error) {
	in, err := b.nodesOf(operand, startIndices)
	if err != nil {
		return nil, err
	}
	table, index := in[0], in[1]
	shape, err := shapeinference.Gather(table.shape, index.shape, indexVectorAxis, offsetOutputAxes,
		collapsedSliceAxes, startIndexMap, sliceSizes, indicesAreSorted)
	if err != nil {
		return nil, err
	}
	k := len(startIndexMap)
	lead := xslices.Iota(0, k)
	ok := indexVectorAxis == index.shape.Rank()-1 && slices.Equal(startIndexMap, lead) &&
		slices.Equal(collapsedSliceAxes, lead) &&
		slices.Equal(sliceSizes[k:], table.shape.Dimensions[k:]) &&
		slices.Equal(offsetOutputAxes, xslices.Iota(index.shape.Rank()-1, len(offsetOutputAxes)))
	if !ok {
		return nil, fmt.Errorf(
			"engine: Gather from %s by %s: only whole rows along leading axes are supported",
			table.shape, index.shape)
	}
	rows := b.rowNumbers(b.materialize(index), table.shape.Dimensions[:k], true)
	flat := b.joinLeading(b.materialize(table), k)
	return b.emit("Gather", shape.DType, shape.Dimensions, []*node{flat, rows},
		attr{"axis", 0}), nil
}

// joinLeading merges the first k axes into one.
func (b *Builder) joinLeading(n *node, k int) *node {
	return b.reshapeTo(n, append([]int{product(n.dims[:k])}, n.dims[k:]...)...)
}

// rowNumbers converts index vectors to row numbers and removes their axis, the last one. sizes are
// the sizes of the indexed axes. If clamp is set, each index is first clamped to its range.
func (b *Builder) rowNumbers(index *node, sizes []int, clamp bool) *node {
	index = b.cast(index, dtypes.Int64)
	dims := index.dims[:len(index.dims)-1]
	var rows *node
	for i, size := range sizes {
		one := index
		if len(sizes) > 1 {
			starts, limits := make([]int, len(index.dims)), slices.Clone(index.dims)
			starts[len(dims)], limits[len(dims)] = i, i+1
			shape := shapes.Make(dtypes.Int64, append(slices.Clone(dims), 1)...)
			strides := slices.Repeat([]int{1}, len(limits))
			one = b.slice(index, shape, starts, limits, strides)
		}
		one = b.reshapeTo(one, dims...)
		if clamp {
			zero, last := b.scalar(dtypes.Int64, 0), b.scalar(dtypes.Int64, float64(size-1))
			one = b.emit("Clip", dtypes.Int64, dims, []*node{one, zero, last})
		}
		if rows == nil {
			rows = one
			continue
		}
		scaled := b.binaryNode("Mul", rows, b.scalar(dtypes.Int64, float64(size)))
		rows = b.binaryNode("Add", scaled, one)
	}
	return rows
}

// ScatterSum implements backends.Builder for whole rows along the leading axes, which is the form
// of a gather's gradient. GoMLX ignores an index out of range; here it is an error when the graph
// runs.
func (b *Builder) ScatterSum(
	operand, scatterIndices, updates backends.Op, indexVectorAxis int,
	updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, _, _ bool,
) (backends.Op, error) {
	return b.scatter("add", operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes,
		insertedWindowAxes, scatterAxesToOperandAxes)
}

// ScatterMax implements backends.Builder with the limits of ScatterSum.
func (b *Builder) ScatterMax(
	operand, scatterIndices, updates backends.Op, indexVectorAxis int,
	updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, _, _ bool,
) (backends.Op, error) {
	return b.scatter("max", operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes,
		insertedWindowAxes, scatterAxesToOperandAxes)
}

// ScatterMin implements backends.Builder with the limits of ScatterSum.
func (b *Builder) ScatterMin(
	operand, scatterIndices, updates backends.Op, indexVectorAxis int,
	updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, _, _ bool,
) (backends.Op, error) {
	return b.scatter("min", operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes,
		insertedWindowAxes, scatterAxesToOperandAxes)
}

// scatter uses ScatterElements. ScatterND would not need expanded indices, but in ONNX Runtime it
// loses updates if an index repeats and several threads run.
func (b *Builder) scatter(
	reduction string, operand, scatterIndices, updates backends.Op, indexVectorAxis int,
	updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int,
) (backends.Op, error) {
	in, err := b.nodesOf(operand, scatterIndices, updates)
	if err != nil {
		return nil, err
	}
	table, index, update := in[0], in[1], in[2]
	shape, err := shapeinference.ScatterOp(table.shape, index.shape, update.shape, indexVectorAxis,
		updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes)
	if err != nil {
		return nil, err
	}
	k, batch := len(scatterAxesToOperandAxes), index.shape.Rank()-1
	lead := xslices.Iota(0, k)
	window := table.shape.Dimensions[k:]
	ok := indexVectorAxis == batch && slices.Equal(scatterAxesToOperandAxes, lead) &&
		slices.Equal(insertedWindowAxes, lead) &&
		slices.Equal(updateWindowAxes, xslices.Iota(batch, len(window))) &&
		slices.Equal(update.shape.Dimensions[batch:], window)
	if !ok {
		return nil, fmt.Errorf(
			"engine: Scatter of %s into %s by %s: only whole rows along leading axes are supported",
			update.shape, table.shape, index.shape)
	}
	rows, width := product(table.shape.Dimensions[:k]), product(window)
	count := product(index.shape.Dimensions[:batch])
	numbers := b.rowNumbers(b.materialize(index), table.shape.Dimensions[:k], false)
	numbers = b.reshapeTo(numbers, count, 1)
	wide := b.emit("Expand", dtypes.Int64, []int{count, width},
		[]*node{numbers, b.ints(count, width)})
	inputs := []*node{
		b.reshapeTo(b.materialize(table), rows, width),
		wide,
		b.reshapeTo(b.materialize(update), count, width),
	}
	out := b.emit("ScatterElements", shape.DType, []int{rows, width}, inputs,
		attr{"axis", 0}, attr{"reduction", reduction})
	return b.reshapeTo(out, shape.Dimensions...), nil
}
