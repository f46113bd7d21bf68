package onnxfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// weight is a constant tensor of the graph, in ONNX an initializer.
type weight struct {
	name        string
	dims        []int
	elemType    uint64 // TensorProto.DataType
	data        []byte // little-endian elements, row-major; nil if otherFields has them
	otherFields []byte // encoded fields that are not parsed, such as elements in another encoding
}

func (w *weight) parse(b []byte) error {
	var floats []byte
	err := walkFields(b, func(n protowire.Number, whole, value []byte) error {
		switch n {
		case tensorDims:
			dims, err := parseIntegers(whole, value)
			w.dims = append(w.dims, dims...)
			return err
		case tensorType:
			kind, err := parseIntegers(whole, value)
			if err == nil && len(kind) == 1 {
				w.elemType = uint64(kind[0])
			}
			return err
		case tensorFloats:
			if value == nil { // not packed: a tag of one byte and a number of four bytes
				if len(whole) != 5 {
					return errors.New("a float has the wrong size: the file is damaged")
				}
				value = whole[1:]
			}
			floats = append(floats, value...)
		case tensorName:
			w.name = string(value)
		case tensorRaw:
			w.data = value
		case tensorDataLocation:
			if where, err := parseIntegers(whole, value); err != nil ||
				len(where) == 1 && where[0] != 0 {
				return errExternalData
			}
		default:
			w.otherFields = append(w.otherFields, whole...)
		}
		return nil
	})
	if floats != nil {
		w.data = floats
	}
	return err
}

// WeightNames returns the names of the weights, in the order of the file.
func (m *Model) WeightNames() []string {
	names := make([]string, len(m.weights))
	for i, w := range m.weights {
		names[i] = w.name
	}
	return names
}

// Floats returns a copy of a weight with 32-bit floats and its shape. It returns nil if the model
// has no such weight, or if the weight's size does not fit its shape.
func (m *Model) Floats(name string) (values []float32, dims []int) {
	w := m.byName[name]
	if w == nil || w.elemType != float32Type || len(w.data)%4 != 0 {
		return nil, nil
	}
	values = make([]float32, len(w.data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(w.data[4*i:]))
	}
	size := 1
	for _, d := range w.dims {
		if d < 1 || d > len(values)/size {
			return nil, nil
		}
		size *= d
	}
	if size != len(values) {
		return nil, nil
	}
	return values, slices.Clone(w.dims)
}

// SetFloats replaces the values of a weight with 32-bit floats. The number of values must stay the
// same.
func (m *Model) SetFloats(name string, values []float32) error {
	w := m.byName[name]
	if w == nil || w.elemType != float32Type || len(w.data) != 4*len(values) {
		return fmt.Errorf("onnxfile: the model has no weight %q with %d floats", name, len(values))
	}
	w.data = floatBytes(values)
	return nil
}

func floatBytes(values []float32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
