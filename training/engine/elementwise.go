package engine

import (
	"slices"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/shapeinference"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// broadcastDims returns the dimensions of the result when ONNX broadcasts the operands against each
// other.
func broadcastDims(in ...*node) []int {
	dims := []int{}
	for _, n := range in {
		if len(dims) == 0 {
			dims = slices.Clone(n.dims)
		}
		for i, d := range n.dims {
			dims[i] = max(dims[i], d)
		}
	}
	return dims
}

// elementwise adds an operator that works on each element. Broadcasts that are pending in all
// operands stay pending in the result.
func (b *Builder) elementwise(op string, shape shapes.Shape, in []*node, attrs ...attr) *node {
	return b.add(&node{op: op, shape: shape, dims: broadcastDims(in...), in: in, attrs: attrs})
}

func (b *Builder) unary(
	t backends.OpType, x backends.Op, build func(x *node) *node,
) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	if _, err := shapeinference.UnaryOp(t, in[0].shape); err != nil {
		return nil, err
	}
	return build(in[0]), nil
}

// unaryOp adds one ONNX operator that keeps shape and type.
func (b *Builder) unaryOp(op string, t backends.OpType, x backends.Op) (backends.Op, error) {
	return b.unary(t, x, func(x *node) *node { return b.unaryNode(op, x) })
}

func (b *Builder) unaryNode(op string, x *node) *node {
	return b.elementwise(op, x.shape, []*node{x})
}

// Abs implements backends.Builder.
func (b *Builder) Abs(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Abs", backends.OpTypeAbs, x)
}

// Ceil implements backends.Builder.
func (b *Builder) Ceil(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Ceil", backends.OpTypeCeil, x)
}

// Cos implements backends.Builder.
func (b *Builder) Cos(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Cos", backends.OpTypeCos, x)
}

// Erf implements backends.Builder.
func (b *Builder) Erf(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Erf", backends.OpTypeErf, x)
}

// Exp implements backends.Builder.
func (b *Builder) Exp(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Exp", backends.OpTypeExp, x)
}

// Floor implements backends.Builder.
func (b *Builder) Floor(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Floor", backends.OpTypeFloor, x)
}

// Log implements backends.Builder.
func (b *Builder) Log(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Log", backends.OpTypeLog, x)
}

// Logistic implements backends.Builder.
func (b *Builder) Logistic(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Sigmoid", backends.OpTypeLogistic, x)
}

// LogicalNot implements backends.Builder.
func (b *Builder) LogicalNot(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Not", backends.OpTypeLogicalNot, x)
}

// Neg implements backends.Builder.
func (b *Builder) Neg(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Neg", backends.OpTypeNeg, x)
}

// Round implements backends.Builder. It rounds halves to the even number.
func (b *Builder) Round(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Round", backends.OpTypeRound, x)
}

// Sign implements backends.Builder.
func (b *Builder) Sign(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Sign", backends.OpTypeSign, x)
}

// Sin implements backends.Builder.
func (b *Builder) Sin(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Sin", backends.OpTypeSin, x)
}

// Sqrt implements backends.Builder.
func (b *Builder) Sqrt(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Sqrt", backends.OpTypeSqrt, x)
}

// Tanh implements backends.Builder.
func (b *Builder) Tanh(x backends.Op) (backends.Op, error) {
	return b.unaryOp("Tanh", backends.OpTypeTanh, x)
}

// Rsqrt implements backends.Builder.
func (b *Builder) Rsqrt(x backends.Op) (backends.Op, error) {
	return b.unary(backends.OpTypeRsqrt, x,
		func(x *node) *node { return b.unaryNode("Reciprocal", b.unaryNode("Sqrt", x)) })
}

// Expm1 implements backends.Builder. It uses e^x - 1 = tanh(x/2) (e^x + 1), which stays accurate
// for small x.
func (b *Builder) Expm1(x backends.Op) (backends.Op, error) {
	return b.unary(backends.OpTypeExpm1, x, func(x *node) *node {
		half := b.binaryNode("Mul", x, b.scalar(x.shape.DType, 0.5))
		return b.binaryNode("Mul", b.unaryNode("Tanh", half),
			b.binaryNode("Add", b.unaryNode("Exp", x), b.scalar(x.shape.DType, 1)))
	})
}

// Log1p implements backends.Builder by Kahan's method: with u = 1 + x rounded, log(u) x / (u - 1)
// is accurate for small x.
func (b *Builder) Log1p(x backends.Op) (backends.Op, error) {
	return b.unary(backends.OpTypeLog1p, x, func(x *node) *node {
		one := b.scalar(x.shape.DType, 1)
		u := b.binaryNode("Add", x, one)
		log, rest := b.unaryNode("Log", u), b.binaryNode("Sub", u, one)
		small := b.where(b.compare("Equal", u, one), x,
			b.binaryNode("Div", b.binaryNode("Mul", log, x), rest))
		return b.where(b.compare("Greater", x, one), log, small)
	})
}

// IsNaN implements backends.Builder.
func (b *Builder) IsNaN(x backends.Op) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	return b.predicate("IsNaN", in[0]), nil
}

// IsFinite implements backends.Builder.
func (b *Builder) IsFinite(x backends.Op) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	return b.unaryNode("Not", b.binaryNode("Or", b.predicate("IsNaN", in[0]),
		b.predicate("IsInf", in[0]))), nil
}

func (b *Builder) predicate(op string, x *node) *node {
	return b.elementwise(op, shapes.Make(dtypes.Bool, x.shape.Dimensions...), []*node{x})
}

// Identity implements backends.Builder.
func (b *Builder) Identity(x backends.Op) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	return b.unaryNode("Identity", in[0]), nil
}

// ConvertDType implements backends.Builder.
func (b *Builder) ConvertDType(x backends.Op, dtype dtypes.DType) (backends.Op, error) {
	in, err := b.nodesOf(x)
	if err != nil {
		return nil, err
	}
	if elementType[dtype] == 0 {
		return nil, unsupported(dtype)
	}
	return b.cast(in[0], dtype), nil
}

func (b *Builder) cast(x *node, dtype dtypes.DType) *node {
	if x.shape.DType == dtype {
		return x
	}
	return b.elementwise("Cast", shapes.Make(dtype, x.shape.Dimensions...), []*node{x},
		attr{"to", int(elementType[dtype])})
}

// binaryNode adds an operator over two nodes whose shapes are known to be compatible.
func (b *Builder) binaryNode(op string, x, y *node) *node {
	shape := x.shape
	if y.shape.Rank() > shape.Rank() {
		shape = y.shape
	}
	if x.shape.Rank() == y.shape.Rank() {
		shape = shape.Clone()
		for i, d := range y.shape.Dimensions {
			shape.Dimensions[i] = max(shape.Dimensions[i], d)
		}
	}
	return b.elementwise(op, shape, []*node{x, y})
}

func (b *Builder) compare(op string, x, y *node) *node {
	n := b.binaryNode(op, x, y)
	n.shape = shapes.Make(dtypes.Bool, n.shape.Dimensions...)
	return n
}

func (b *Builder) where(cond, yes, no *node) *node {
	return b.elementwise("Where", yes.shape, []*node{cond, yes, no})
}
