package engine

import (
	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/shapeinference"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// binary adds an operator over two operands that broadcast against each other. ONNX's broadcasting
// rule includes GoMLX's: operands of the same rank, or a scalar.
func (b *Builder) binary(
	op string, t backends.OpType, lhs, rhs backends.Op, attrs ...attr,
) (backends.Op, error) {
	return b.inferBinary(shapeinference.BinaryOp, op, t, lhs, rhs, attrs)
}

func (b *Builder) comparison(
	op string, t backends.OpType, lhs, rhs backends.Op,
) (backends.Op, error) {
	return b.inferBinary(shapeinference.ComparisonOp, op, t, lhs, rhs, nil)
}

func (b *Builder) inferBinary(
	infer func(t backends.OpType, lhs, rhs shapes.Shape) (shapes.Shape, error), op string,
	t backends.OpType, lhs, rhs backends.Op, attrs []attr,
) (backends.Op, error) {
	in, err := b.nodesOf(lhs, rhs)
	if err != nil {
		return nil, err
	}
	shape, err := infer(t, in[0].shape, in[1].shape)
	if err != nil {
		return nil, err
	}
	return b.elementwise(op, shape, in, attrs...), nil
}

// Add implements backends.Builder.
func (b *Builder) Add(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Add", backends.OpTypeAdd, lhs, rhs)
}

// Div implements backends.Builder.
func (b *Builder) Div(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Div", backends.OpTypeDiv, lhs, rhs)
}

// Max implements backends.Builder.
func (b *Builder) Max(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Max", backends.OpTypeMax, lhs, rhs)
}

// Min implements backends.Builder.
func (b *Builder) Min(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Min", backends.OpTypeMin, lhs, rhs)
}

// Mul implements backends.Builder.
func (b *Builder) Mul(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Mul", backends.OpTypeMul, lhs, rhs)
}

// Pow implements backends.Builder.
func (b *Builder) Pow(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Pow", backends.OpTypePow, lhs, rhs)
}

// Rem implements backends.Builder. The result has the sign of lhs.
func (b *Builder) Rem(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Mod", backends.OpTypeRem, lhs, rhs, attr{"fmod", 1})
}

// Sub implements backends.Builder.
func (b *Builder) Sub(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Sub", backends.OpTypeSub, lhs, rhs)
}

// LogicalAnd implements backends.Builder.
func (b *Builder) LogicalAnd(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("And", backends.OpTypeLogicalAnd, lhs, rhs)
}

// LogicalOr implements backends.Builder.
func (b *Builder) LogicalOr(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Or", backends.OpTypeLogicalOr, lhs, rhs)
}

// LogicalXor implements backends.Builder.
func (b *Builder) LogicalXor(lhs, rhs backends.Op) (backends.Op, error) {
	return b.binary("Xor", backends.OpTypeLogicalXor, lhs, rhs)
}

// Equal implements backends.Builder.
func (b *Builder) Equal(lhs, rhs backends.Op) (backends.Op, error) {
	return b.comparison("Equal", backends.OpTypeEqual, lhs, rhs)
}

// NotEqual implements backends.Builder.
func (b *Builder) NotEqual(lhs, rhs backends.Op) (backends.Op, error) {
	equal, err := b.comparison("Equal", backends.OpTypeNotEqual, lhs, rhs)
	if err != nil {
		return nil, err
	}
	return b.unaryNode("Not", equal.(*node)), nil
}

// GreaterOrEqual implements backends.Builder.
func (b *Builder) GreaterOrEqual(lhs, rhs backends.Op) (backends.Op, error) {
	return b.comparison("GreaterOrEqual", backends.OpTypeGreaterOrEqual, lhs, rhs)
}

// GreaterThan implements backends.Builder.
func (b *Builder) GreaterThan(lhs, rhs backends.Op) (backends.Op, error) {
	return b.comparison("Greater", backends.OpTypeGreaterThan, lhs, rhs)
}

// LessOrEqual implements backends.Builder.
func (b *Builder) LessOrEqual(lhs, rhs backends.Op) (backends.Op, error) {
	return b.comparison("LessOrEqual", backends.OpTypeLessOrEqual, lhs, rhs)
}

// LessThan implements backends.Builder.
func (b *Builder) LessThan(lhs, rhs backends.Op) (backends.Op, error) {
	return b.comparison("Less", backends.OpTypeLessThan, lhs, rhs)
}

// Where implements backends.Builder.
func (b *Builder) Where(condition, onTrue, onFalse backends.Op) (backends.Op, error) {
	in, err := b.nodesOf(condition, onTrue, onFalse)
	if err != nil {
		return nil, err
	}
	shape, err := shapeinference.WhereOp(in[0].shape, in[1].shape, in[2].shape)
	if err != nil {
		return nil, err
	}
	return b.elementwise("Where", shape, in), nil
}

// Clamp implements backends.Builder.
func (b *Builder) Clamp(low, x, high backends.Op) (backends.Op, error) {
	raised, err := b.Max(x, low)
	if err != nil {
		return nil, err
	}
	return b.Min(raised, high)
}
