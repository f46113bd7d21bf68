package engine

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// sumOfProducts turns the sum of the product mul along axes into a matrix product. The axes stay
// with size 1. It returns nil if the sum is not a matrix product.
//
// GoMLX writes the gradient of a matrix product as a sum of a product of broadcast operands: [i, j,
// 1] times [1, j, k], summed over j. It leaves it to the compiler to recognize the matrix product.
// Without that, the product would need memory for i x j x k numbers.
func (b *Builder) sumOfProducts(mul *node, axes []int) *node {
	x, y := mul.in[0], mul.in[1]
	if len(x.dims) != len(mul.dims) || len(y.dims) != len(mul.dims) {
		return nil // one operand is a scalar
	}
	var batch, left, right, summed, leftOnly, rightOnly []int
	repeats := 1
	for i := range mul.dims {
		inX, inY, sum := x.dims[i] > 1, y.dims[i] > 1, slices.Contains(axes, i)
		switch {
		case inX && inY && sum:
			summed = append(summed, i)
		case inX && inY:
			batch = append(batch, i)
		case inX && sum:
			leftOnly = append(leftOnly, i)
		case inY && sum:
			rightOnly = append(rightOnly, i)
		case inX:
			left = append(left, i)
		case inY:
			right = append(right, i)
		case sum:
			repeats *= mul.shape.Dimensions[i]
		}
	}
	if len(summed) == 0 || len(left)+len(right) == 0 {
		return nil // the product is not larger than its operands
	}
	if leftOnly != nil {
		x = b.reduceKeepDims("ReduceSum", x, leftOnly)
	}
	if rightOnly != nil {
		y = b.reduceKeepDims("ReduceSum", y, rightOnly)
	}
	out := b.contract(x, y, batch, left, right, summed)
	// Return to the operands' order of axes, and restore the axes that neither operand has.
	axisOrder := append(append(slices.Clone(batch), left...), right...)
	shape, dims := mul.shape.Clone(), slices.Repeat([]int{1}, len(mul.dims))
	for _, axis := range axes {
		shape.Dimensions[axis] = 1
	}
	for _, axis := range axisOrder {
		dims[axis] = mul.dims[axis]
	}
	out = b.permute(out, sortPermutation(axisOrder))
	return b.scale(b.reshape(out, shape, dims), repeats)
}

// sortPermutation returns the permutation that sorts axes.
func sortPermutation(axisOrder []int) []int {
	perm := make([]int, len(axisOrder))
	for i := range perm {
		perm[i] = i
	}
	slices.SortFunc(perm, func(i, j int) int { return axisOrder[i] - axisOrder[j] })
	return perm
}

// contract multiplies x and y and sums along the summed axes. Both operands use the same axis
// numbers; an axis that an operand lacks has size 1 there. The result has the axes batch, left
// (only in x) and right (only in y), in this order.
func (b *Builder) contract(x, y *node, batch, left, right, summed []int) *node {
	size := func(n *node, axes []int) []int {
		dims := make([]int, len(axes))
		for i, axis := range axes {
			dims[i] = n.dims[axis]
		}
		return dims
	}
	dims := slices.Concat(size(x, batch), size(x, left), size(y, right))
	m, k, n := product(size(x, left)), product(size(x, summed)), product(size(y, right))
	dtype := x.shape.DType
	if len(batch) > 0 && len(left)+len(right) == 0 {
		sum := b.reduceKeepDims("ReduceSum", b.binaryNode("Mul", x, y), summed)
		return b.reshapeTo(b.permuteGroups(sum, batch), dims...)
	}
	if len(batch) == 0 {
		lhs, transA := b.matrix(x, left, summed, m, k)
		rhs, transB := b.matrix(y, summed, right, k, n)
		out := b.emit("Gemm", dtype, []int{m, n}, []*node{lhs, rhs}, attr{"transA", transA},
			attr{"transB", transB})
		return b.reshapeTo(out, dims...)
	}
	g := product(size(x, batch))
	lhs := b.matrices(x, batch, left, summed, g, m, k)
	rhs := b.matrices(y, batch, summed, right, g, k, n)
	out := b.emit("MatMul", dtype, []int{g, m, n}, []*node{lhs, rhs})
	return b.reshapeTo(out, dims...)
}

// matrix returns x as [rows, columns]. If the axes of x have the opposite order, it returns
// [columns, rows] and transposed is 1: Gemm takes both forms.
func (b *Builder) matrix(x *node, rows, columns []int, r, c int) (_ *node, transposed int) {
	if !slices.IsSorted(slices.Concat(rows, columns)) &&
		slices.IsSorted(slices.Concat(columns, rows)) {
		return b.reshapeTo(x, c, r), 1
	}
	return b.reshapeTo(b.permuteGroups(x, rows, columns), r, c), 0
}

// matrices returns x as [batch, rows, columns]. A transposition of the last two axes comes last,
// because ONNX Runtime fuses it into the product.
func (b *Builder) matrices(x *node, batch, rows, columns []int, g, r, c int) *node {
	if !slices.IsSorted(slices.Concat(batch, rows, columns)) &&
		slices.IsSorted(slices.Concat(batch, columns, rows)) {
		return b.permute(b.reshapeTo(x, g, c, r), []int{0, 2, 1})
	}
	return b.reshapeTo(b.permuteGroups(x, batch, rows, columns), g, r, c)
}

// permuteGroups orders the axes of x by groups. The other axes, of size 1, come last.
func (b *Builder) permuteGroups(x *node, groups ...[]int) *node {
	perm := slices.Concat(groups...)
	if slices.IsSorted(perm) {
		return x
	}
	for i := range x.dims {
		if !slices.Contains(perm, i) {
			perm = append(perm, i)
		}
	}
	return b.permute(x, perm)
}

// Dot implements backends.Builder.
func (b *Builder) Dot(lhs, rhs backends.Op) (backends.Op, error) {
	in, err := b.nodesOf(lhs, rhs)
	if err != nil {
		return nil, err
	}
	ranks := [2]int{in[0].shape.Rank(), in[1].shape.Rank()}
	if ranks != [2]int{1, 1} && ranks != [2]int{2, 1} && ranks != [2]int{2, 2} {
		return nil, fmt.Errorf("engine: Dot does not support operands of shapes %s and %s",
			in[0].shape, in[1].shape)
	}
	return b.DotGeneral(lhs, []int{in[0].shape.Rank() - 1}, nil, rhs, []int{0}, nil)
}

// DotGeneral implements backends.Builder.
func (b *Builder) DotGeneral(
	lhs backends.Op, lhsContractingAxes, lhsBatchAxes []int, rhs backends.Op,
	rhsContractingAxes, rhsBatchAxes []int,
) (backends.Op, error) {
	in, err := b.nodesOf(lhs, rhs)
	if err != nil {
		return nil, err
	}
	x, y := in[0], in[1]
	if x.shape.DType != y.shape.DType || !x.isFloat() {
		return nil, fmt.Errorf(
			"engine: DotGeneral of %s and %s: both operands must be float32, or both float64",
			x.shape, y.shape)
	}
	if len(lhsContractingAxes) != len(rhsContractingAxes) ||
		len(lhsBatchAxes) != len(rhsBatchAxes) {
		return nil, fmt.Errorf(
			"engine: DotGeneral of %s and %s: the operands differ in the number of axes",
			x.shape, y.shape)
	}
	for i, axis := range append(slices.Clone(lhsContractingAxes), lhsBatchAxes...) {
		other := append(slices.Clone(rhsContractingAxes), rhsBatchAxes...)[i]
		if x.shape.Dimensions[axis] != y.shape.Dimensions[other] {
			return nil, fmt.Errorf("engine: DotGeneral of %s and %s: axes %d and %d differ in size",
				x.shape, y.shape, axis, other)
		}
	}
	return b.dotGeneral(b.materialize(x), lhsContractingAxes, lhsBatchAxes, b.materialize(y),
		rhsContractingAxes, rhsBatchAxes), nil
}

// dotGeneral gives both operands a common numbering of axes.
func (b *Builder) dotGeneral(x *node, xSummed, xBatch []int, y *node, ySummed, yBatch []int) *node {
	ownAxes := func(n *node, used ...[]int) (axes []int) {
		for i := range n.dims {
			if !slices.Contains(slices.Concat(used...), i) {
				axes = append(axes, i)
			}
		}
		return axes
	}
	xOwn, yOwn := ownAxes(x, xSummed, xBatch), ownAxes(y, ySummed, yBatch)
	// The numbers follow the axes of x, so that x needs no permutation. The axes that only y has
	// come after them.
	batch, left, summed := xBatch, xOwn, xSummed
	right := make([]int, len(yOwn))
	rank := x.shape.Rank() + len(yOwn)
	for i := range right {
		right[i] = x.shape.Rank() + i
	}
	numbers := make([]int, y.shape.Rank())
	for i, axis := range yBatch {
		numbers[axis] = batch[i]
	}
	for i, axis := range ySummed {
		numbers[axis] = summed[i]
	}
	for i, axis := range yOwn {
		numbers[axis] = right[i]
	}
	return b.contract(b.expandRank(x, nil, rank), b.expandRank(y, numbers, rank), batch, left,
		right, summed)
}

// expandRank returns n with rank axes. Axis i of n becomes axis numbers[i], or axis i if numbers is
// nil. The other axes have size 1.
func (b *Builder) expandRank(n *node, numbers []int, rank int) *node {
	if numbers == nil {
		numbers = make([]int, len(n.dims))
		for i := range numbers {
			numbers[i] = i
		}
	}
	perm := sortPermutation(numbers)
	n = b.permute(n, perm)
	dims := slices.Repeat([]int{1}, rank)
	for i, p := range perm {
		dims[numbers[p]] = n.dims[i]
	}
	return b.reshape(n, shapes.Make(n.shape.DType, dims...), dims)
}
