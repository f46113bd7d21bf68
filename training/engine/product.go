package engine

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// sumOfProducts turns the sum along axes of the product mul into a matrix product, and keeps the axes with
// size 1. nil: it is none.
//
// GoMLX's gradient of a matrix product is the product of two broadcast operands, summed, and leaves it to
// the compiler to see what that is: [i, j, 1] times [1, j, k] summed over j. Computed as it stands, it
// would cost i x j x k numbers of memory.
func (b *Builder) sumOfProducts(mul *node, axes []int) *node {
	x, y := mul.in[0], mul.in[1]
	if len(x.dims) != len(mul.dims) || len(y.dims) != len(mul.dims) {
		return nil // by a scalar
	}
	var batch, left, right, summed, leftOnly, rightOnly []int
	owed := 1
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
			owed *= mul.shape.Dimensions[i]
		}
	}
	if len(summed) == 0 || len(left)+len(right) == 0 {
		return nil // nothing that a product of all pairs would blow up
	}
	if leftOnly != nil {
		x = b.keeping("ReduceSum", x, leftOnly)
	}
	if rightOnly != nil {
		y = b.keeping("ReduceSum", y, rightOnly)
	}
	out := b.contract(x, y, batch, left, right, summed)
	// Back to the operands' order of axes, with those that neither has.
	place := append(append(slices.Clone(batch), left...), right...)
	shape, dims := mul.shape.Clone(), slices.Repeat([]int{1}, len(mul.dims))
	for _, axis := range axes {
		shape.Dimensions[axis] = 1
	}
	for _, axis := range place {
		dims[axis] = mul.dims[axis]
	}
	out = b.permute(out, order(place))
	return b.times(b.reshape(out, shape, dims), owed)
}

// order is the permutation that sorts place.
func order(place []int) []int {
	perm := make([]int, len(place))
	for i := range perm {
		perm[i] = i
	}
	slices.SortFunc(perm, func(i, j int) int { return place[i] - place[j] })
	return perm
}

// contract multiplies x and y and sums along the summed axes. The operands' axes are named by the same
// numbers; one that an operand lacks has size 1 there. The result's axes are batch, left (which only x
// has) and right (which only y has), in this order.
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
		sum := b.keeping("ReduceSum", b.pair("Mul", x, y), summed)
		return b.flat(b.arranged(sum, batch), dims...)
	}
	if len(batch) == 0 {
		lhs, transA := b.matrix(x, left, summed, m, k)
		rhs, transB := b.matrix(y, summed, right, k, n)
		out := b.emit("Gemm", dtype, []int{m, n}, []*node{lhs, rhs}, attr{"transA", transA}, attr{"transB", transB})
		return b.flat(out, dims...)
	}
	g := product(size(x, batch))
	out := b.emit("MatMul", dtype, []int{g, m, n}, []*node{b.matrices(x, batch, left, summed, g, m, k), b.matrices(y, batch, summed, right, g, k, n)})
	return b.flat(out, dims...)
}

// matrix lays x out as [rows, columns], or, where its axes are the other way round, as [columns, rows] with
// transposed set: the product takes either.
func (b *Builder) matrix(x *node, rows, columns []int, r, c int) (_ *node, transposed int) {
	if !slices.IsSorted(slices.Concat(rows, columns)) && slices.IsSorted(slices.Concat(columns, rows)) {
		return b.flat(x, c, r), 1
	}
	return b.flat(b.arranged(x, rows, columns), r, c), 0
}

// matrices lays x out as [batch, rows, columns]. ONNX Runtime takes a transposition of the last two axes
// into the product by itself, so it is put last.
func (b *Builder) matrices(x *node, batch, rows, columns []int, g, r, c int) *node {
	if !slices.IsSorted(slices.Concat(batch, rows, columns)) && slices.IsSorted(slices.Concat(batch, columns, rows)) {
		return b.permute(b.flat(x, g, c, r), []int{0, 2, 1})
	}
	return b.flat(b.arranged(x, batch, rows, columns), g, r, c)
}

// arranged brings x's axes into the order of groups; the other ones, of size 1, go last.
func (b *Builder) arranged(x *node, groups ...[]int) *node {
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
	if r := [2]int{in[0].shape.Rank(), in[1].shape.Rank()}; r != [2]int{1, 1} && r != [2]int{2, 1} && r != [2]int{2, 2} {
		return nil, fmt.Errorf("engine: Dot of %s and %s", in[0].shape, in[1].shape)
	}
	return b.DotGeneral(lhs, []int{in[0].shape.Rank() - 1}, nil, rhs, []int{0}, nil)
}

// DotGeneral implements backends.Builder.
func (b *Builder) DotGeneral(lhs backends.Op, lhsContractingAxes, lhsBatchAxes []int, rhs backends.Op, rhsContractingAxes, rhsBatchAxes []int) (backends.Op, error) {
	in, err := b.nodesOf(lhs, rhs)
	if err != nil {
		return nil, err
	}
	x, y := in[0], in[1]
	if x.shape.DType != y.shape.DType || !x.isFloat() {
		return nil, fmt.Errorf("engine: a matrix product of %s and %s: both operands must be float32, or both float64", x.shape, y.shape)
	}
	if len(lhsContractingAxes) != len(rhsContractingAxes) || len(lhsBatchAxes) != len(rhsBatchAxes) {
		return nil, fmt.Errorf("engine: DotGeneral of %s and %s: the operands' axes differ in number", x.shape, y.shape)
	}
	for i, axis := range append(slices.Clone(lhsContractingAxes), lhsBatchAxes...) {
		other := append(slices.Clone(rhsContractingAxes), rhsBatchAxes...)[i]
		if x.shape.Dimensions[axis] != y.shape.Dimensions[other] {
			return nil, fmt.Errorf("engine: DotGeneral of %s and %s: axes %d and %d differ in size", x.shape, y.shape, axis, other)
		}
	}
	return b.dotGeneral(b.whole(x), lhsContractingAxes, lhsBatchAxes, b.whole(y), rhsContractingAxes, rhsBatchAxes), nil
}

// dotGeneral gives both operands a common numbering of axes: batch, lhs's own, rhs's own, summed.
func (b *Builder) dotGeneral(x *node, xSummed, xBatch []int, y *node, ySummed, yBatch []int) *node {
	own := func(n *node, used ...[]int) (axes []int) {
		for i := range n.dims {
			if !slices.Contains(slices.Concat(used...), i) {
				axes = append(axes, i)
			}
		}
		return axes
	}
	xOwn, yOwn := own(x, xSummed, xBatch), own(y, ySummed, yBatch)
	// The numbers follow x's own order, so that it need not be rearranged; y's own axes come after it.
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
	return b.contract(b.widen(x, nil, rank), b.widen(y, numbers, rank), batch, left, right, summed)
}

// widen sees n with rank axes, its own at numbers (nil: first).
func (b *Builder) widen(n *node, numbers []int, rank int) *node {
	if numbers == nil {
		numbers = make([]int, len(n.dims))
		for i := range numbers {
			numbers[i] = i
		}
	}
	perm := order(numbers)
	n = b.permute(n, perm)
	dims := slices.Repeat([]int{1}, rank)
	for i, p := range perm {
		dims[numbers[p]] = n.dims[i]
	}
	return b.reshape(n, shapes.Make(n.shape.DType, dims...), dims)
}
