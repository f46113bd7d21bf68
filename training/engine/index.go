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

// Gather implements backends.Builder for whole rows along the leading axes, which is what graph.Gather
// asks for. An index out of range is moved to the nearest row, as GoMLX defines it.
func (b *Builder) Gather(operand, startIndices backends.Op, indexVectorAxis int, offsetOutputAxes, collapsedSliceAxes, startIndexMap, sliceSizes []int, indicesAreSorted bool) (backends.Op, error) {
	in, err := b.nodesOf(operand, startIndices)
	if err != nil {
		return nil, err
	}
	table, index := in[0], in[1]
	shape, err := shapeinference.Gather(table.shape, index.shape, indexVectorAxis, offsetOutputAxes, collapsedSliceAxes, startIndexMap, sliceSizes, indicesAreSorted)
	if err != nil {
		return nil, err
	}
	k := len(startIndexMap)
	lead := xslices.Iota(0, k)
	ok := indexVectorAxis == index.shape.Rank()-1 && slices.Equal(startIndexMap, lead) && slices.Equal(collapsedSliceAxes, lead) &&
		slices.Equal(sliceSizes[k:], table.shape.Dimensions[k:]) && slices.Equal(offsetOutputAxes, xslices.Iota(index.shape.Rank()-1, len(offsetOutputAxes)))
	if !ok {
		return nil, fmt.Errorf("engine: Gather from %s by %s: only whole rows along leading axes can be gathered", table.shape, index.shape)
	}
	rows := b.rowNumbers(b.whole(index), table.shape.Dimensions[:k], true)
	flat := b.joinLeading(b.whole(table), k)
	return b.emit("Gather", shape.DType, shape.Dimensions, []*node{flat, rows}, attr{"axis", 0}), nil
}

// joinLeading makes one axis of the first k.
func (b *Builder) joinLeading(n *node, k int) *node {
	return b.flat(n, append([]int{product(n.dims[:k])}, n.dims[k:]...)...)
}

// rowNumbers turns index vectors (the last axis) over axes of the given sizes into numbers of rows, without
// that axis. clamp moves each index into its range first.
func (b *Builder) rowNumbers(index *node, sizes []int, clamp bool) *node {
	index = b.cast(index, dtypes.Int64)
	dims := index.dims[:len(index.dims)-1]
	var rows *node
	for i, size := range sizes {
		one := index
		if len(sizes) > 1 {
			starts, limits := make([]int, len(index.dims)), slices.Clone(index.dims)
			starts[len(dims)], limits[len(dims)] = i, i+1
			one = b.cut(index, shapes.Make(dtypes.Int64, append(slices.Clone(dims), 1)...), starts, limits, slices.Repeat([]int{1}, len(limits)))
		}
		one = b.flat(one, dims...)
		if clamp {
			zero, last := b.scalar(dtypes.Int64, 0), b.scalar(dtypes.Int64, float64(size-1))
			one = b.emit("Clip", dtypes.Int64, dims, []*node{one, zero, last})
		}
		if rows == nil {
			rows = one
			continue
		}
		rows = b.pair("Add", b.pair("Mul", rows, b.scalar(dtypes.Int64, float64(size))), one)
	}
	return rows
}

// ScatterSum implements backends.Builder for whole rows along the leading axes, as the gradient of a
// gather is. Unlike in GoMLX's definition, an index out of range is an error when the graph runs.
func (b *Builder) ScatterSum(operand, scatterIndices, updates backends.Op, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, _, _ bool) (backends.Op, error) {
	return b.scatter("add", operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes)
}

// ScatterMax implements backends.Builder, as ScatterSum does.
func (b *Builder) ScatterMax(operand, scatterIndices, updates backends.Op, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, _, _ bool) (backends.Op, error) {
	return b.scatter("max", operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes)
}

// ScatterMin implements backends.Builder, as ScatterSum does.
func (b *Builder) ScatterMin(operand, scatterIndices, updates backends.Op, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, _, _ bool) (backends.Op, error) {
	return b.scatter("min", operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes)
}

// scatter uses ScatterElements. ONNX Runtime's ScatterND would need no widened indices, but with several
// threads it loses updates where an index comes twice.
func (b *Builder) scatter(reduction string, operand, scatterIndices, updates backends.Op, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int) (backends.Op, error) {
	in, err := b.nodesOf(operand, scatterIndices, updates)
	if err != nil {
		return nil, err
	}
	table, index, update := in[0], in[1], in[2]
	shape, err := shapeinference.ScatterOp(table.shape, index.shape, update.shape, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes)
	if err != nil {
		return nil, err
	}
	k, batch := len(scatterAxesToOperandAxes), index.shape.Rank()-1
	lead := xslices.Iota(0, k)
	window := table.shape.Dimensions[k:]
	ok := indexVectorAxis == batch && slices.Equal(scatterAxesToOperandAxes, lead) && slices.Equal(insertedWindowAxes, lead) &&
		slices.Equal(updateWindowAxes, xslices.Iota(batch, len(window))) && slices.Equal(update.shape.Dimensions[batch:], window)
	if !ok {
		return nil, fmt.Errorf("engine: scattering %s into %s by %s: only whole rows along leading axes can be scattered", update.shape, table.shape, index.shape)
	}
	rows, width := product(table.shape.Dimensions[:k]), product(window)
	count := product(index.shape.Dimensions[:batch])
	numbers := b.flat(b.rowNumbers(b.whole(index), table.shape.Dimensions[:k], false), count, 1)
	wide := b.emit("Expand", dtypes.Int64, []int{count, width}, []*node{numbers, b.ints(count, width)})
	out := b.emit("ScatterElements", shape.DType, []int{rows, width},
		[]*node{b.flat(b.whole(table), rows, width), wide, b.flat(b.whole(update), count, width)}, attr{"axis", 0}, attr{"reduction", reduction})
	return b.flat(out, shape.Dimensions...), nil
}
