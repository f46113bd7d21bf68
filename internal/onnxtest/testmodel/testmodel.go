// Package testmodel writes small ONNX models for tests: encoders that are broken or hostile in one
// way each, and the parts to write more of them.
package testmodel

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Inputs of an encoder.
const (
	InputIDs  = "input_ids"
	InputMask = "attention_mask"
)

// Message joins fields of a message of onnx.proto. The other functions write such fields, one or
// several each.
func Message(fields ...[]byte) (b []byte) {
	for _, f := range fields {
		b = append(b, f...)
	}
	return b
}

// Bytes is a field with bytes or with a message.
func Bytes(n protowire.Number, value ...[]byte) []byte {
	tag := protowire.AppendTag(nil, n, protowire.BytesType)
	return protowire.AppendBytes(tag, Message(value...))
}

// String is a field with a string.
func String(n protowire.Number, s string) []byte { return Bytes(n, []byte(s)) }

// Number is a field with an integer.
func Number(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

// Types of elements: values of TensorProto.DataType.
const (
	FloatType = 1
	Int32Type = 6
	Int64Type = 7
	BoolType  = 9
)

// valueInfo describes an input or output. An axis is the name of a dynamic one, or a size.
func valueInfo(name string, elem uint64, axes ...any) []byte {
	var shape []byte
	for _, a := range axes {
		switch a := a.(type) {
		case string:
			shape = append(shape, Bytes(1, String(2, a))...)
		case int:
			shape = append(shape, Bytes(1, Number(1, uint64(a)))...)
		}
	}
	return Message(String(1, name),
		Bytes(2, Bytes(1, Number(1, elem), Bytes(2, shape))))
}

// Node is one node of a graph, an operator of ONNX.
func Node(op, out string, in []string, attributes ...[]byte) []byte {
	return NodeOf("", op, []string{out}, in, attributes...)
}

// NodeOf is a node with an operator of any domain.
func NodeOf(domain, op string, out, in []string, attributes ...[]byte) []byte {
	var b []byte
	for _, i := range in {
		b = append(b, String(1, i)...)
	}
	for _, o := range out {
		b = append(b, String(2, o)...)
	}
	b = append(b, String(4, op)...)
	for _, a := range attributes {
		b = append(b, Bytes(5, a)...)
	}
	return Bytes(1, b, String(7, domain))
}

// IntegerAttribute is an attribute of a node.
func IntegerAttribute(name string, v uint64) []byte {
	return Message(String(1, name), Number(3, v), Number(20, 2))
}

// GraphAttribute is an attribute of a node that is a graph, such as the body of a loop.
func GraphAttribute(name string, graph []byte) []byte {
	return Message(String(1, name), Bytes(6, graph), Number(20, 5))
}

// Integers is a constant with 64-bit integers; without dims it is a scalar.
func Integers(name string, dims []uint64, values ...uint64) []byte {
	var b, packed []byte
	for _, d := range dims {
		b = append(b, Number(1, d)...)
	}
	for _, v := range values {
		packed = protowire.AppendVarint(packed, v)
	}
	return Bytes(5, b, Number(2, Int64Type), Bytes(7, packed), String(8, name))
}

// Floats is a constant with 32-bit floats; without dims it is a scalar.
func Floats(name string, dims []uint64, values ...float32) []byte {
	var b, packed []byte
	for _, d := range dims {
		b = append(b, Number(1, d)...)
	}
	for _, v := range values {
		packed = protowire.AppendFixed32(packed, math.Float32bits(v))
	}
	return Bytes(5, b, Number(2, FloatType), Bytes(4, packed), String(8, name))
}

// Input is an input of a graph. An axis is the name of a dynamic one, or a size.
func Input(name string, elem uint64, axes ...any) []byte {
	return Bytes(11, valueInfo(name, elem, axes...))
}

// Output is an output of a graph.
func Output(name string, elem uint64, axes ...any) []byte {
	return Bytes(12, valueInfo(name, elem, axes...))
}

// Model is a model with one graph, which has the given fields.
func Model(graph ...[]byte) []byte {
	return Message(Number(1, 8), Bytes(8, String(1, ""), Number(2, 17)),
		Bytes(8, String(1, "com.microsoft"), Number(2, 1)),
		Bytes(7, String(2, "g"), Message(graph...)))
}

// TextInputs are the inputs of an encoder.
var TextInputs = Message(Input(InputIDs, Int64Type, "b", "s"),
	Input(InputMask, Int64Type, "b", "s"))

// States turns the float value of each token into a vector with one component, out.
func States(value string) []byte {
	return Message(Node("Unsqueeze", "out", []string{value, "axes"}),
		Integers("axes", []uint64{1}, 2), Output("out", FloatType, "b", "s", 1))
}

// NaN is an encoder whose output is 0/0 everywhere.
func NaN() []byte {
	return Model(
		Node("Cast", "f", []string{InputMask}, IntegerAttribute("to", FloatType)),
		Node("Sub", "z", []string{"f", "f"}),
		Node("Div", "n", []string{"z", "z"}),
		States("n"), TextInputs)
}

// Constant is an encoder that gives each text the vector (1, 2).
func Constant() []byte {
	return Model(
		Node("Cast", "f", []string{InputMask}, IntegerAttribute("to", FloatType)),
		Node("Sub", "z", []string{"f", "f"}),
		Node("Unsqueeze", "u", []string{"z", "axes"}),
		Node("Add", "out", []string{"u", "v"}),
		Integers("axes", []uint64{1}, 2), Floats("v", []uint64{2}, 1, 2),
		TextInputs, Output("out", FloatType, "b", "s", 2))
}

// LoopFrom is the token id from which Loop never ends.
const LoopFrom = 100_000

// Loop is an encoder that never ends if a text has a token of LoopFrom or more.
func Loop() []byte { return loopFrom(LoopFrom) }

// Endless is an encoder that never ends.
func Endless() []byte { return loopFrom(1) }

func loopFrom(id uint64) []byte {
	body := Message(
		Node("Identity", "go_on", []string{"cond"}),
		Node("Identity", "next", []string{"before"}),
		String(2, "body"),
		Input("i", Int64Type), Input("cond", BoolType), Input("before", FloatType),
		Output("go_on", BoolType), Output("next", FloatType))
	return Model(
		Node("Sub", "above", []string{InputIDs, "limit"}),
		Node("ReduceMax", "most", []string{"above"}, IntegerAttribute("keepdims", 0)),
		Node("Max", "positive", []string{"most", "zero"}),
		Node("Mul", "times", []string{"positive", "many"}),
		Node("Loop", "v", []string{"times", "", "start"}, GraphAttribute("body", body)),
		Node("Cast", "f", []string{InputIDs}, IntegerAttribute("to", FloatType)),
		Node("Add", "sum", []string{"f", "v"}),
		States("sum"),
		Integers("limit", nil, id-1), Integers("zero", nil, 0), Integers("many", nil, 1<<40),
		Floats("start", nil, 0), TextInputs)
}

// Enormous is an encoder of a few hundred bytes that asks for 14 GB of memory when it is loaded.
func Enormous() []byte {
	return Model(
		Node("ConstantOfShape", "big", []string{"size"}),
		Node("ReduceSum", "zero", []string{"big"}, IntegerAttribute("keepdims", 0)),
		Node("Cast", "f", []string{InputIDs}, IntegerAttribute("to", FloatType)),
		Node("Add", "sum", []string{"f", "zero"}),
		States("sum"), Integers("size", []uint64{2}, 60_000, 60_000), TextInputs)
}
