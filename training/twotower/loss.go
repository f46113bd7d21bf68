package twotower

import (
	"slices"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
)

// batchNodes are the inputs of a training step: b sequences of l positions, n negatives, k skipped
// items of each position.
type batchNodes struct {
	items, next, weight      *Node // b x l
	negatives, negativeShift *Node // n
	skipped, skippedShift    *Node // b l x k; nil if the corpus has no skipped items
}

// loss is the weighted mean of the softmax loss over all positions. The classes are the next item,
// the negatives, which all positions share, and the skipped items of the position. A negative that
// equals the next item is ignored. The shifts are subtracted from the scores of negatives.
func (m *model) loss(in *batchNodes) *Node {
	parts := []*Node{Reshape(in.items, -1), Reshape(in.next, -1), in.negatives}
	if in.skipped != nil {
		parts = append(parts, Reshape(in.skipped, -1))
	}
	// One lookup for all items: the gradient of each lookup is as large as all item vectors.
	vec, bias := m.vectors(Concatenate(parts, 0))
	offset := 0
	take := func(like *Node) (v, b *Node) {
		n := like.Shape().Size()
		v, b = Slice(vec, AxisRange(offset, offset+n)), Slice(bias, AxisRange(offset, offset+n))
		offset += n
		dims := like.Shape().Dimensions
		return Reshape(v, append(slices.Clone(dims), m.cfg.Dim)...), Reshape(b, dims...)
	}
	itemVec, _ := take(in.items)
	state := Reshape(m.states(itemVec), -1, m.cfg.Dim)
	target := Reshape(in.next, -1)
	targetVec, targetBias := take(target)
	positive := Add(ReduceSum(Mul(state, targetVec), -1), targetBias)
	negVec, negBias := take(in.negatives)
	negatives := Add(Einsum("td,nd->tn", state, negVec),
		InsertAxes(Sub(negBias, in.negativeShift), 0))
	negatives = maskScores(negatives, Equal(InsertAxes(target, -1), InsertAxes(in.negatives, 0)))
	if in.skipped != nil {
		skipVec, skipBias := take(in.skipped)
		skipped := Add(Einsum("td,tkd->tk", state, skipVec), Sub(skipBias, in.skippedShift))
		skipped = maskScores(skipped, Equal(InsertAxes(target, -1), in.skipped))
		negatives = Concatenate([]*Node{negatives, skipped}, -1)
	}
	top := StopGradient(Max(positive, ReduceMax(negatives, -1)))
	sum := Add(Exp(Sub(positive, top)), ReduceSum(Exp(Sub(negatives, InsertAxes(top, -1))), -1))
	losses := Sub(Add(Log(sum), top), positive)
	weight := Reshape(in.weight, -1)
	return Div(ReduceAllSum(Mul(losses, weight)), ReduceAllSum(weight))
}

// maskScores makes the scores at where so low that they do not count.
func maskScores(scores, where *Node) *Node {
	return Add(scores, MulScalar(ConvertDType(where, dtypes.Float32), -1e9))
}
