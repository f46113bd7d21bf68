package onnxfile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"relish/embeddings/onnx"
	"relish/embeddings/onnxfile"
	"relish/internal/onnxtest"
)

// The weights of productModel, 4 rows of 3.
var productWeights = []float32{1, -2, .5, .25, 3, -1, 0, .75, 2, -1.5, 1, 1}

// productModel returns a model of the given opset that multiplies x, of any number of batches and
// tokens with 4 columns, by productWeights. With activation, it multiplies x·tanh(x)² instead,
// which looks like GELU but can be far below 0.
func productModel(opset uint64, activation bool) []byte {
	field := func(n protowire.Number, parts ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType),
			bytes.Join(parts, nil))
	}
	text := func(n protowire.Number, s string) []byte { return field(n, []byte(s)) }
	integer := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	value := func(n protowire.Number, name string, columns uint64) []byte {
		shape := field(2, field(1, text(2, "b")), field(1, text(2, "t")),
			field(1, integer(1, columns)))
		return field(n, text(1, name), field(2, field(1, integer(1, 1), shape)))
	}
	var raw []byte
	for _, w := range productWeights {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(w))
	}
	factor, nodes := "x", []byte(nil)
	if activation {
		factor = "v"
		nodes = slices.Concat(field(1, text(1, "x"), text(2, "t"), text(4, "Tanh")),
			field(1, text(1, "t"), text(1, "t"), text(2, "s"), text(4, "Mul")),
			field(1, text(1, "x"), text(1, "s"), text(2, "v"), text(4, "Mul")))
	}
	return slices.Concat(integer(1, 8), field(8, text(1, ""), integer(2, opset)), field(7, nodes,
		field(1, text(1, factor), text(1, "w"), text(2, "y"), text(4, "MatMul")), text(2, "g"),
		field(5, integer(1, 4), integer(1, 3), integer(2, 1), text(8, "w"), field(9, raw)),
		value(11, "x", 4), value(12, "y", 3)))
}

// A quantized product takes each row of its input by itself, also a row of zeros. The result is
// close to that of the floats, under opsets with either form of ReduceMax.
func TestRowsAreIndependent(t *testing.T) {
	for _, c := range []struct {
		opset      uint64
		activation bool
		tolerance  float64 // relative to the largest value of a row
	}{{13, false, 0.05}, {18, false, 0.05}, {13, true, 0.2}, {18, true, 0.2}} {
		t.Run(fmt.Sprint(c.opset, c.activation), func(t *testing.T) {
			small, err := parse(t, productModel(c.opset, c.activation)).Quantize()
			if err != nil {
				t.Fatal(err)
			}
			g, err := onnxtest.Start(t).LoadGraph(small, onnx.GraphOptions{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			checkRows(t, g, c.activation, c.tolerance)
		})
	}
}

// checkRows runs a quantized productModel on four rows together and one by one.
func checkRows(t *testing.T, g *onnx.Graph, activation bool, tolerance float64) {
	rows := []float32{1, -2, 3, 4, 0, 0, 0, 0, 100, 20, -30, 5, .001, .002, 0, -.001}
	product := func(batches, tokens int64, x []float32) []float32 {
		y := make([]float32, len(x)/4*3)
		err := g.Run(t.Context(), []onnx.Tensor{{Shape: []int64{batches, tokens, 4}, Data: x}},
			[]onnx.Tensor{{Shape: []int64{batches, tokens, 3}, Data: y}})
		if err != nil {
			t.Fatal(err)
		}
		return y
	}
	got := product(2, 2, rows)
	if !slices.Equal(got, product(1, 4, rows)) {
		t.Error("other batches give other rows")
	}
	for i := range 4 {
		x, y := slices.Clone(rows[i*4:i*4+4]), got[i*3:i*3+3]
		if !slices.Equal(y, product(1, 1, x)) {
			t.Errorf("row %d alone is not %v", i, y)
		}
		largest := 0.0
		for j, v := range x {
			if activation {
				squash := math.Tanh(float64(v))
				x[j] = float32(float64(v) * squash * squash)
			}
			largest = max(largest, math.Abs(float64(x[j])))
		}
		for k := range y {
			var want float32
			for j := range x {
				want += x[j] * productWeights[j*3+k]
			}
			if d := math.Abs(float64(y[k] - want)); d > tolerance*largest {
				t.Errorf("row %d column %d is %v, want %v", i, k, y[k], want)
			}
		}
	}
}

// QuantizeRows leaves an activation alone whose quantized form is read by something that it does
// not know, and changes nothing a second time.
func TestQuantizeRowsLeavesTheRest(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(onnxtest.CacheDir(), "encoder", "int8", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	count := func(m *onnxfile.Model) (n int) {
		for _, node := range m.Nodes {
			if node.Op == "DynamicQuantizeLinear" {
				n++
			}
		}
		return n
	}
	m := parse(t, data)
	for _, node := range m.Nodes {
		if node.Op == "DynamicQuantizeLinear" {
			m.Nodes = append(m.Nodes, &onnxfile.Node{
				Op: "Identity", Inputs: node.Outputs[:1], Outputs: []string{"more"},
			})
			break
		}
	}
	if before := count(m); !m.QuantizeRows() || before < 2 || count(m) != 1 {
		t.Errorf("%d of %d nodes are left, want 1", count(m), before)
	}
	if m := parse(t, data); !m.QuantizeRows() || count(m) != 0 || m.QuantizeRows() {
		t.Error("the shipped encoder is not changed once")
	}
}
