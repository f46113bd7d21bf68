package engine

import (
	"fmt"
	"reflect"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/notimplemented"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// operations lists the operators that Builder can write as ONNX. Any other operator is an error
// that names it.
var operations = []backends.OpType{
	backends.OpTypeAbs, backends.OpTypeAdd, backends.OpTypeBroadcastInDim, backends.OpTypeCeil,
	backends.OpTypeClamp,
	backends.OpTypeConcatenate, backends.OpTypeConstant, backends.OpTypeConvertDType,
	backends.OpTypeCos,
	backends.OpTypeDiv, backends.OpTypeDot, backends.OpTypeDotGeneral, backends.OpTypeEqual,
	backends.OpTypeErf,
	backends.OpTypeExp, backends.OpTypeExpm1, backends.OpTypeFloor, backends.OpTypeGather,
	backends.OpTypeGreaterOrEqual, backends.OpTypeGreaterThan, backends.OpTypeIdentity,
	backends.OpTypeIota,
	backends.OpTypeIsFinite, backends.OpTypeIsNaN, backends.OpTypeLessOrEqual,
	backends.OpTypeLessThan,
	backends.OpTypeLog, backends.OpTypeLog1p, backends.OpTypeLogicalAnd, backends.OpTypeLogicalNot,
	backends.OpTypeLogicalOr, backends.OpTypeLogicalXor, backends.OpTypeLogistic,
	backends.OpTypeMax,
	backends.OpTypeMin, backends.OpTypeMul, backends.OpTypeNeg, backends.OpTypeNotEqual,
	backends.OpTypePad,
	backends.OpTypeParameter, backends.OpTypePow, backends.OpTypeReduceMax,
	backends.OpTypeReduceMin,
	backends.OpTypeReduceProduct, backends.OpTypeReduceSum, backends.OpTypeRem,
	backends.OpTypeReshape,
	backends.OpTypeRNGBitGenerator, backends.OpTypeRound, backends.OpTypeRsqrt,
	backends.OpTypeScatterMax,
	backends.OpTypeScatterMin, backends.OpTypeScatterSum, backends.OpTypeSign, backends.OpTypeSin,
	backends.OpTypeSlice, backends.OpTypeSqrt, backends.OpTypeSub, backends.OpTypeTanh,
	backends.OpTypeTranspose, backends.OpTypeWhere,
}

// Builder collects the nodes of one graph. It implements backends.Builder and belongs to one
// goroutine.
type Builder struct {
	notimplemented.Builder
	name   string
	finish func(*plan) (backends.Executable, error)
	nodes  []*node
	params []*node
}

var _ backends.Builder = (*Builder)(nil)

// Builder implements backends.Backend.
func (b *Backend) Builder(name string) backends.Builder { return newBuilder(name, b.load) }

// newBuilder returns a builder. Its Compile passes the finished plan to finish.
func newBuilder(name string, finish func(*plan) (backends.Executable, error)) *Builder {
	missing := notimplemented.Builder{ErrFn: func(op backends.OpType) error {
		return fmt.Errorf("engine: graph %q: operator %s is not supported", name, op)
	}}
	return &Builder{Builder: missing, name: name, finish: finish}
}

// Name implements backends.Builder.
func (b *Builder) Name() string { return b.name }

// OpShape implements backends.Builder.
func (b *Builder) OpShape(op backends.Op) (shapes.Shape, error) {
	in, err := b.nodesOf(op)
	if err != nil {
		return shapes.Invalid(), err
	}
	return in[0].shape, nil
}

// Parameter implements backends.Builder.
func (b *Builder) Parameter(
	name string, shape shapes.Shape, _ *backends.ShardingSpec,
) (backends.Op, error) {
	if elementType[shape.DType] == 0 {
		return nil, unsupported(shape.DType)
	}
	if shape.Size() == 0 {
		return nil, fmt.Errorf("engine: graph %q: parameter %s of shape %s has no elements",
			b.name, name, shape)
	}
	p := b.add(&node{kind: parameter, shape: shape, name: name})
	b.params = append(b.params, p)
	return p, nil
}

// Constant implements backends.Builder.
func (b *Builder) Constant(flat any, dims ...int) (backends.Op, error) {
	v := reflect.ValueOf(flat)
	if v.Kind() != reflect.Slice || v.Len() != product(dims) || v.Len() == 0 {
		return nil, fmt.Errorf(
			"engine: graph %q: a constant of shape %v needs a slice of as many elements, not %T",
			b.name, dims, flat)
	}
	dtype := dtypes.FromGoType(v.Type().Elem())
	if elementType[dtype] == 0 {
		return nil, unsupported(dtype)
	}
	elements := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(elements, v)
	shape := shapes.Make(dtype, dims...)
	return b.add(&node{kind: constant, shape: shape, data: elements.Interface()}), nil
}
